"""Further tasks of the hands-off benchmark: ``more`` to choose rules on, ``check`` to look at afterwards."""

import functools

import torch
from torch import nn

from recipes.benchmarks.handsoff import models as h
from recipes.benchmarks.handsoff import more_models as mm
from recipes.benchmarks.handsoff.tasks import (
    ADAM,
    GPT,
    MATHS,
    MOMENTUM,
    MSE,
    NESTEROV,
    NETWORK,
    PARSERS,
    RMS,
    SGD,
    SMALL_CONV,
    VOCABULARY,
    WD,
    P,
    Task,
    code,
    cross_entropy,
    half_of_digits,
    made,
    themselves,
    tuned,
)
from recipes.benchmarks.suggestion_tasks import data as d
from recipes.benchmarks.suggestion_tasks import models as m

LOW, HIGH = P(half_of_digits, False), P(half_of_digits, True)
FRIEDMAN, CLUSTERS = P(made, "friedman"), P(made, "clusters")
SMALL_MLP = P(m.mlp, 64, 64, 32, 5)


@functools.cache
def teacher(width: int = 12) -> d.Data:
    """Regression of a random network of one hidden layer."""
    draw = torch.Generator().manual_seed(5)
    x = torch.randn(3000, width, generator=draw)
    first, last = torch.randn(width, 16, generator=draw) / width**0.5, torch.randn(16, 1, generator=draw) / 4
    y = torch.relu(x @ first) @ last
    return d.split(x, (y - y.mean()) / y.std() + 0.05 * torch.randn(3000, 1, generator=draw))


@functools.cache
def clicks() -> d.Data:
    """Five columns of 40 categories each, and a noisy choice of two by the sum of their weights."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randint(40, (4000, 5), generator=draw)
    weights = torch.randn(5, 40, generator=draw)
    score = sum(weights[i][x[:, i]] for i in range(5))
    return d.split(x, (torch.rand(4000, generator=draw) < torch.sigmoid(torch.as_tensor(score))).long())


def text_gpt(layers: int, width: int) -> h.GPT:
    return h.GPT(VOCABULARY, length=24, layers=layers, width=width)


def sorter(layers: int = 1) -> m.Transformer:
    return m.Transformer(8, 6, False, layers)


def recurrent(kind: type[nn.Module], width: int) -> m.Recurrent:
    return m.Recurrent(kind, VOCABULARY, VOCABULARY, True, width)


CE = cross_entropy
MLP, LNMLP, BAG = m.mlp, mm.layer_norm_mlp, mm.Bag
NETWORK_16, PARSERS_12 = P(code, NETWORK, 16), P(code, PARSERS, 12)
FACTORS = P(m.Factors, 60, 40, 4)
COLUMNS = P(mm.Columns, (40,) * 5, 6, 2)
ENCODER = P(MLP, 64, 48, 12, 48, 64)
DECAYED = P(SGD, momentum=0.9, weight_decay=5e-4)
HEAVY = P(SGD, momentum=0.95)

MORE = (
    Task("digits_vit_two_layers_adam", "more", P(h.ViT, layers=2, width=32), d.digits, CE, ADAM, 2**-5),
    Task("digits_vit_momentum", "more", P(h.ViT, layers=1, width=32), d.digits, CE, MOMENTUM, 0.5),
    Task("maths_gpt_adamw", "more", P(text_gpt, 2, 48), P(code, MATHS), CE, WD, 2**-5, 16),
    Task("code_gpt_four_layers_adamw", "more", P(text_gpt, 4, 24), P(code, PARSERS), CE, WD, 0.125, 16),
    Task("network_gpt_momentum", "more", P(text_gpt, 1, 24), P(code, NETWORK), CE, MOMENTUM, 2.0, 16),
    Task("digits_resnet_decayed_momentum", "more", P(h.resnet, 8), d.digits, CE, DECAYED, 4.0),
    Task("digits_resnet_adamw", "more", P(h.resnet, 6), d.digits, CE, WD, 1.0),
    Task("noisy_digits_resnet_momentum", "more", P(h.resnet, 8), P(d.digits, 0.3), CE, MOMENTUM, 4.0),
    Task("mnist1d_mlp_norm_momentum", "more", P(MLP, 40, 96, 96, 10, norm=True), d.mnist1d, CE, MOMENTUM, 0.25, 64),
    Task("clusters_mlp_norm_sgd", "more", P(MLP, 20, 64, 64, 5, norm=True), CLUSTERS, CE, SGD, 8.0),
    Task("clusters_mlp_layer_norm_adamw", "more", P(LNMLP, 20, 64, 64, 5), CLUSTERS, CE, WD, 0.125),
    Task("friedman_mlp_layer_norm_momentum", "more", P(LNMLP, 10, 64, 64, 1), FRIEDMAN, MSE, MOMENTUM, 0.25),
    Task("friedman_mlp_norm_adam", "more", P(MLP, 10, 64, 64, 1, norm=True), FRIEDMAN, MSE, ADAM, 0.5),
    Task("network_lstm_adamw", "more", P(recurrent, nn.LSTM, 32), NETWORK_16, CE, WD, 1.0, 16),
    Task("network_lstm_momentum", "more", P(recurrent, nn.LSTM, 32), NETWORK_16, CE, MOMENTUM, 32.0, 16),
    Task("sorting_transformer_adamw", "more", P(sorter, 2), d.sorting, CE, WD, 0.125),
    Task("maths_bag_adam", "more", P(BAG, VOCABULARY, 32, 64), P(code, MATHS), CE, ADAM, 0.5, 16),
    Task("mnist1d_cnn_momentum", "more", P(m.conv1d, 16), d.mnist1d, CE, MOMENTUM, 2.0),
    Task("latent_residual_adam", "more", P(m.Residual, 8, 1, 4), P(d.latent, 8), MSE, ADAM, 0.125),
    Task("digits_autoencoder_momentum", "more", ENCODER, P(themselves, True), MSE, MOMENTUM, 32.0),
    Task("patches_denoiser_adamw", "more", P(m.denoiser, 12), P(d.patches, 0.1), MSE, WD, 0.25, 16),
    Task("clusters_deep_tanh_sgd", "more", P(MLP, 20, 48, 48, 48, 48, 5, act=nn.Tanh), CLUSTERS, CE, SGD, 8.0),
    Task("finetune_conv_momentum", "more", P(tuned, "full", SMALL_CONV, HIGH, True), LOW, CE, MOMENTUM, 1.0),
    Task("finetune_head_adam", "more", P(tuned, "head", SMALL_CONV, LOW, True), HIGH, CE, ADAM, 0.5),
    Task("digits_vit_two_layers_momentum", "check", P(h.ViT, layers=2, width=24), d.digits, CE, MOMENTUM, 2**-4, 16),
    Task("sorting_transformer_momentum", "check", sorter, d.sorting, CE, MOMENTUM, 2.0),
    Task("maths_gpt_momentum", "check", P(text_gpt, 2, 32), P(code, MATHS), CE, HEAVY, 1.0, 8),
    Task("code_bag_momentum", "check", P(BAG, VOCABULARY, 24, 48, nn.Tanh), P(code, PARSERS), CE, MOMENTUM, 8.0, 16),
    Task("ratings_mlp_sgd", "check", P(mm.Columns, (60, 40), 8, 1), d.ratings, MSE, SGD, 4.0),
    Task("ratings_factors_nesterov", "check", FACTORS, d.ratings, MSE, NESTEROV, 4.0, 64),
    Task("clicks_momentum", "check", COLUMNS, clicks, CE, MOMENTUM, 4.0),
    Task("code_gru_momentum", "check", P(recurrent, nn.GRU, 24), PARSERS_12, CE, MOMENTUM, 16.0, 16),
    Task("friedman_tanh_nesterov", "check", P(MLP, 10, 64, 32, 1, act=nn.Tanh), FRIEDMAN, MSE, NESTEROV, 0.5),
    Task("teacher_momentum", "check", P(MLP, 12, 48, 48, 1), teacher, MSE, MOMENTUM, 2.0),
    Task("teacher_wide_sgd", "check", P(MLP, 12, 96, 1), teacher, MSE, SGD, 2.0, 16),
    Task("spirals_relu_momentum", "check", P(MLP, 2, 48, 48, 4), P(d.spirals, 4), CE, MOMENTUM, 4.0),
    Task("wave_tanh_sgd", "check", P(MLP, 1, 48, 48, 1, act=nn.Tanh), d.wave, MSE, SGD, 4.0),
    Task("digits_cnn_momentum", "check", mm.plain_cnn, d.digits, CE, MOMENTUM, 2.0),
    Task("digits_cnn_group_norm_sgd", "check", mm.group_norm_cnn, d.digits, CE, SGD, 16.0),
    Task("digits_mixer_momentum", "check", mm.Mixer, d.digits, CE, MOMENTUM, 1.0),
    Task("digits_linear_momentum", "check", mm.linear, d.digits, CE, MOMENTUM, 16.0),
    Task(
        "digits_autoencoder_tanh_nesterov", "check", P(MLP, 64, 32, 16, 32, 64, act=nn.Tanh), P(themselves, True), MSE,
        NESTEROV, 32.0,
    ),
    Task("finetune_mlp_momentum", "check", P(tuned, "full", SMALL_MLP, HIGH, True), LOW, CE, MOMENTUM, 1.0),
    Task("finetune_head_sgd", "check", P(tuned, "head", SMALL_MLP, HIGH, True), LOW, CE, SGD, 4.0),
    Task("finetune_head_nesterov", "check", P(tuned, "head", P(m.conv2d, 8, 5), HIGH, True), LOW, CE, NESTEROV, 0.5),
    Task("finetune_gpt_momentum", "check", P(tuned, "full", GPT, P(code, NETWORK), False), P(code, MATHS), CE,
         MOMENTUM, 1.0, 8),
    Task("digits_vit_wide_adamw", "check", P(h.ViT, layers=1, width=48), d.digits, CE, WD, 0.125),
    Task("digits_mixer_adam", "check", mm.Mixer, d.digits, CE, ADAM, 0.5),
    Task("digits_cnn_adamw", "check", mm.plain_cnn, d.digits, CE, WD, 0.25),
    Task("teacher_adam", "check", P(MLP, 12, 48, 48, 1), teacher, MSE, ADAM, 0.5),
    Task("ratings_factors_adam", "check", FACTORS, d.ratings, MSE, ADAM, 16.0, 64),
    Task("clicks_adamw", "check", COLUMNS, clicks, CE, WD, 4.0),
    Task("code_bag_rmsprop", "check", P(BAG, VOCABULARY, 24, 48, nn.Tanh), P(code, PARSERS), CE, RMS, 0.5, 16),
    Task("finetune_mlp_adam", "check", P(tuned, "full", SMALL_MLP, HIGH, True), LOW, CE, ADAM, 0.5),
)  # fmt: skip
