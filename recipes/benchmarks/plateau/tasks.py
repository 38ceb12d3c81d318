"""The tasks of the plateau benchmark in halves: which of them a rule was chosen on, and which it was blind to."""

from __future__ import annotations

from collections.abc import Callable

from recipes.benchmarks.plateau import tasks_data as data
from recipes.benchmarks.plateau import tasks_drawn as drawn
from recipes.benchmarks.plateau import tasks_sequences as sequences
from recipes.benchmarks.plateau.blocks import Task

_HALVES = {
    # The rule was chosen on these.
    "choose": (
        data.digits_mlp,
        drawn.teacher,
        drawn.quadratic,
        drawn.parity,
        sequences.markov,
        data.autoencoder,
        data.digits_cnn,
        data.cancer,
        data.diabetes,
        drawn.spirals,
        drawn.deep_linear,
        sequences.recurrent,
        drawn.factors,
    ),
    # Written before the rule was changed, and looked at once, for the report; later changes were chosen on them too.
    "report": (
        sequences.signals_1d,
        sequences.help_text,
        sequences.attention,
        data.vae,
        data.contrastive,
        drawn.poisson,
        drawn.bandit,
        drawn.single_index,
        data.noisy_labels,
        data.ordinal,
        data.norm_dropout,
    ),
    # Written apart from the rules (the tasks saw constant and cosine training alone), and looked at once.
    "check": (
        data.photo,
        drawn.mixture_density,
        sequences.skip_gram,
        sequences.gated,
        drawn.staircase,
        drawn.matrix_sensing,
        drawn.power_spectrum,
        data.mixer,
        data.friedman,
        drawn.diffusion,
        drawn.quantile,
        data.graph,
    ),
}
HALVES: dict[str, dict[str, Callable[[], Task]]] = {
    half: {make.__name__: make for make in tasks} for half, tasks in _HALVES.items()
}
