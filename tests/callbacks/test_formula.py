"""LRFormula in real fits: values, groups, refusals, company."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, GradientAccumulationScheduler, StochasticWeightAveraging
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from lr_lightning import FormulaError, FormulaLR, LRFormula, LRRangeTest
from lr_lightning.optim import param_groups
from tests.helpers.formula_fit import Net, Validated, fit


def test_per_epoch_and_ratios_are_kept():
    lrs, _, _ = fit([LRFormula("base_lr / (1 + decay_rate * epoch)", decay_rate=1.0)])
    assert lrs.of(0) == [0.1] * 4 + [0.05] * 4 + [0.1 / 3] * 4
    assert lrs.of(1) == [1.0] * 4 + [0.5] * 4 + [1 / 3] * 4


def test_per_step_with_all_counters():
    lrs, _, _ = fit(
        [LRFormula("base_lr * (1000 * epoch + 100 * batch + step) / (steps * epochs * batches)", interval="step")],
        max_epochs=2,
    )
    expected = [(1000 * (s // 4) + 100 * (s % 4) + s) / (8 * 2 * 4) * 0.1 for s in range(8)]
    assert lrs.of(0) == pytest.approx(expected, rel=1e-15)


def test_accumulation_counts_optimizer_steps():
    net = Net(batches=5)
    lrs, _, trainer = fit(
        [LRFormula("base_lr * 0.5 ** step + 100 * batch", interval="step")], net, accumulate_grad_batches=2
    )
    per_epoch = [0, 2, 4]
    assert lrs.of(0) == [0.1 * 0.5**step + 100 * per_epoch[step % 3] for step in range(9)]
    assert trainer.global_step == 9


def test_a_recursive_formula_chains_once_an_epoch_or_step():
    lrs, _, _ = fit([LRFormula("lr * 0.5")])
    assert lrs.of(0) == [0.05] * 4 + [0.025] * 4 + [0.0125] * 4
    lrs, _, _ = fit([LRFormula("lr * 0.5", interval="step")], accumulate_grad_batches=2)
    assert lrs.of(0) == [0.1 * 0.5**i for i in range(1, 7)]


def test_keras_functions_and_presets():
    lrs, _, _ = fit([LRFormula(lambda epoch, lr: lr if epoch < 2 else lr * 0.5)])
    assert lrs.of(1) == [1.0] * 8 + [0.5] * 4
    lrs, _, _ = fit([LRFormula(preset="inverse_sqrt", k=1.0, interval="step")])
    assert lrs.of(0) == pytest.approx([0.1 / (step + 1) ** 0.5 for step in range(12)], rel=1e-15)
    lrs, _, _ = fit([LRFormula(preset="one_cycle")])
    assert max(lrs.of(0)) < 0.1 < 1.05 * max(lrs.of(0))


def test_warmup_by_step_in_front_of_a_formula_by_epoch():
    lrs, _, _ = fit([LRFormula("base_lr * 0.5 ** epoch", warmup_steps=6)])
    assert lrs.of(0) == [0.1 * 0.5 ** (s // 4) * min(1, (s + 1) / 7) for s in range(12)]


def test_formulas_for_named_groups():
    lrs, _, _ = fit([LRFormula("base_lr", groups={"head": "base_lr * k ** epoch"}, k=0.5)])
    assert lrs.of(0) == [0.1] * 12
    assert lrs.of(1) == [1.0] * 4 + [0.5] * 4 + [0.25] * 4
    lrs, _, _ = fit([LRFormula(groups={"head": {"preset": "exponential", "gamma": 0.5}})])
    assert lrs.of(0) == [0.1] * 12
    assert lrs.of(1) == [1.0] * 4 + [0.5] * 4 + [0.25] * 4


def test_two_callbacks_share_out_the_groups():
    two = [LRFormula(groups={"head": "base_lr * 0.5 ** epoch"}), LRFormula(groups={"body": "lr * 0.1"})]
    assert two[0].state_key != two[1].state_key
    lrs, _, _ = fit(two)
    assert lrs.of(0) == pytest.approx([0.01] * 4 + [0.001] * 4 + [0.0001] * 4)
    assert lrs.of(1) == [1.0] * 4 + [0.5] * 4 + [0.25] * 4


class AddGroup(L.Callback):
    """Adds a group at a batch of an epoch."""

    def __init__(self, epoch, batch, lr=0.3):
        self.place, self.lr = (epoch, batch), lr

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.place:
            group = {"params": pl_module.late.parameters(), "lr": self.lr, "name": "late"}
            trainer.optimizers[0].add_param_group(group)


@pytest.mark.parametrize("place", [(1, 0), (1, 2)])
def test_groups_added_later_get_their_formula_from_then_on(place):
    lrs, _, _ = fit([AddGroup(*place), LRFormula("base_lr * 0.5 ** epoch")])
    first = 4 * place[0] + place[1]
    assert [len(row) for row in lrs.seen] == [2] * first + [3] * (12 - first)
    assert lrs.of(0) == [0.1] * 4 + [0.05] * 4 + [0.025] * 4
    assert [row[2] for row in lrs.seen[first:]] == [0.15] * (8 - first) + [0.075] * 4


def test_a_named_group_may_come_later():
    with pytest.warns(UserWarning, match="no param group is named 'late' yet; known are body, head; its formula waits"):
        lrs, _, _ = fit([AddGroup(1, 0), LRFormula("base_lr * 0.9 ** epoch", groups={"late": "lr * 0.5"})])
    assert [row[2] for row in lrs.seen[4:]] == [0.15] * 4 + [0.075] * 4


def test_unfreezing_with_lightning():
    class Backbone(Net):
        def __init__(self):
            super().__init__()
            self.backbone = self.body

        def configure_optimizers(self):
            trained = [p for p in self.parameters() if p.requires_grad]
            return torch.optim.SGD(trained, lr=0.1)

    unfreeze = BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_ratio_lr=0.5, verbose=False)
    with pytest.warns(UserWarning, match="something else has set it"):  # it raises the backbone's LR at each epoch
        lrs, _, _ = fit([unfreeze, LRFormula("base_lr * 0.5 ** epoch")], Backbone())
    assert lrs.of(0) == [0.1] * 4 + [0.05] * 4 + [0.025] * 4
    assert [len(row) for row in lrs.seen] == [1] * 4 + [2] * 8
    assert len({row[1] / row[0] for row in lrs.seen[4:]}) == 1


def test_metrics():
    net = Validated([3.0, 1.0, 0.5, 0.25])
    formula = LRFormula('base_lr / 10 if metric("val_loss") <= 1 else base_lr / 2')
    lrs, _, _ = fit([formula], net, max_epochs=4)
    assert lrs.of(0) == [0.1] * 4 + [0.05] * 4 + [0.01] * 8  # nothing is logged in epoch 0, but by the sanity check
    lrs, _, _ = fit([LRFormula('base_lr / metric("val_loss", 4)')], Validated([3.0, 2.0, 1.0]))
    assert lrs.of(0) == [0.025] * 4 + [0.1 / 3] * 4 + [0.05] * 4
    by_step = LRFormula('base_lr / metric("val_loss", 1)', interval="step")
    lrs, _, _ = fit([by_step], Validated([3.0, 2.0]), max_epochs=2, val_check_interval=0.5)
    assert lrs.of(0) == [0.1] * 2 + [0.1 / 3] * 4 + [0.05] * 2


def test_a_misspelt_metric_is_named():
    net = Validated([3.0, 1.0, 0.5])
    with pytest.warns(UserWarning, match="metric 'val_los' has not been logged so far; did you mean 'val_loss'?"):
        lrs, _, _ = fit([LRFormula('base_lr * metric("val_los")')], net)
    assert lrs.of(0) == [0.1] * 12


def test_it_composes_with_a_plateau_factor():
    class Decay(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                param_groups.decay(trainer.optimizers, [], 0.1)

    for text in ("base_lr * 0.5 ** epoch", "lr * 0.5 if epoch else lr"):
        lrs, _, _ = fit([LRFormula(text), Decay()])
        assert lrs.of(0) == pytest.approx([0.1] * 4 + [0.005] * 4 + [0.0025] * 4, rel=1e-15)
        assert lrs.of(1) == pytest.approx([1.0] * 4 + [0.05] * 4 + [0.025] * 4, rel=1e-15)


class Rescale(L.Callback):
    """What a range test does, with a known result."""

    def __init__(self, epoch=0, batch=0, lr=0.4):
        self.place, self.lr = (epoch, batch), lr

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.place:
            param_groups.rescale(trainer.optimizers, [], self.lr)


@pytest.mark.parametrize("text", ["base_lr * 0.5 ** epoch", "lr * 0.5 if epoch else lr"])
def test_it_starts_from_what_a_range_test_found(text):
    lrs, _, _ = fit([Rescale(), LRFormula(text)])
    assert lrs.of(0) == [0.4] * 4 + [0.2] * 4 + [0.1] * 4
    assert lrs.of(1) == [4.0] * 4 + [2.0] * 4 + [1.0] * 4
    lrs, _, _ = fit([Rescale(1, 2), LRFormula(text)])
    assert lrs.of(0) == pytest.approx([0.1] * 4 + [0.05] * 2 + [0.2] * 2 + [0.1] * 4, rel=1e-15)


def test_a_real_range_test_and_the_formula():
    finder = LRRangeTest(min_lr=1e-4, max_lr=10.0, num_steps=20, progress_bar=False)
    lrs, _, _ = fit([LRFormula("base_lr * 0.5 ** epoch", warmup_steps=1), finder])
    assert finder.result is not None
    base = finder.result.suggestion if finder.result.suggestion is not None else 0.1
    assert lrs.of(0) == pytest.approx([base / 2] + [base] * 3 + [base / 2] * 4 + [base / 4] * 4, rel=1e-15)
    assert lrs.of(1) == pytest.approx([10 * lr for lr in lrs.of(0)], rel=1e-12)


def test_tensor_lrs_are_filled_in_place():
    seen = []

    class Identity(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            seen.append(id(trainer.optimizers[0].param_groups[0]["lr"]))

    lrs, _, _ = fit([LRFormula("base_lr * 0.5 ** epoch"), Identity()], Net(optimizer="adam", tensor_lr=True))
    assert lrs.of(0) == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.025] * 4, rel=1e-6)
    assert len(set(seen)) == 1


@pytest.mark.parametrize(
    ("callbacks", "net", "message"),
    [
        (
            [LRFormula("base_lr / (epoch + 1)")],
            Net(scheduler=lambda o: StepLR(o, 1)),
            r"LRFormula\('base_lr / \(epoch \+ 1\)'\) and the scheduler StepLR from configure_optimizers both set "
            r"the LR of optimizer 0 \(SGD\)",
        ),
        ([LRFormula(groups={"head": "lr * 0.5"})], Net(scheduler=lambda o: ReduceLROnPlateau(o)), "ReduceLROnPlateau"),
        ([LRFormula("lr * 0.5")], Net(scheduler=lambda o: FormulaLR(o, "lr * 0.9")), "the scheduler FormulaLR"),
        (
            [LRFormula("lr * 0.5"), LRFormula(groups={"head": "lr * 0.1"})],
            None,
            r"LRFormula\('lr \* 0.5'\) and LRFormula\('lr \* 0.1'\) both set the LR of optimizer 0, group 1",
        ),
        ([LRFormula("lr * 0.5"), StochasticWeightAveraging(0.1)], None, "StochasticWeightAveraging"),
        ([LRFormula("0.1 * 0.9 ** epoch"), LRRangeTest()], None, "uses neither base_lr nor lr"),
        ([LRFormula(lambda epoch: 0.1), LRRangeTest()], None, "uses neither base_lr nor lr"),
        ([LRFormula("base_lr * (1 - epoch)")], None, r"negative \(-0.1\) at epoch 2, step 8 with base_lr=0.1"),
        (
            [LRFormula("base_lr", groups={"head": "base_lr / epoch"})],
            None,
            "cannot compute 'base_lr / epoch' at epoch 0",
        ),
        ([LRFormula("lr * 0.5", optimizer=1)], None, r"optimizer=1: the module has 1 optimizers"),
        (
            [LRFormula("base_lr * step / steps", interval="step"), GradientAccumulationScheduler({0: 2, 1: 1})],
            None,
            "position 18: 'steps' isn't known",
        ),
    ],
)
def test_refusals_at_fit_start(callbacks, net, message):
    with pytest.raises(FormulaError, match=message):
        fit(callbacks, net)


def test_what_is_not_refused():
    lrs, _, _ = fit([LRFormula("0.1 * 0.9 ** epoch"), LRRangeTest(num_steps=5, apply=False, progress_bar=False)])
    assert lrs.of(1) == pytest.approx([0.1] * 4 + [0.09] * 4 + [0.081] * 4)


def test_a_constant_formula_is_a_warning():
    with pytest.warns(UserWarning, match="gives the same LR, 0.1, at all 3 epochs"):
        fit([LRFormula("base_lr")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either an expression or a preset"),
        ({"expression": "base_lr * k"}, "position 11: unknown name 'k'"),
        ({"expression": "base_lr", "k": 1}, "parameter 'k' isn't used"),
        ({"expression": "base_lr", "groups": {"head": "lr"}, "k": 1}, "parameter 'k' isn't used"),
        (
            {"expression": "lr * k", "groups": {"head": "lr * decy"}, "k": 1, "decay": 2},
            "'decy'; did you mean 'decay'?",
        ),
        ({"groups": {"": "lr"}}, "groups maps names of param groups to formulas, got the name ''"),
        ({"groups": {"head": 3}}, "groups['head'] must be a formula, a function or a mapping, got 3"),
        ({"expression": "lr", "optimizer": -1}, "optimizer must be an integer of at least 0, got -1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(FormulaError) as caught:
        LRFormula(**arguments)
    assert message in str(caught.value)


def test_totals_of_a_run_that_max_steps_ends():
    lrs, _, _ = fit([LRFormula("base_lr * step / steps * epochs", interval="step")], max_epochs=9, max_steps=6)
    assert lrs.of(0) == pytest.approx([0.1 * step / 6 * 2 for step in range(6)], rel=1e-15)


def test_a_schedule_of_accumulation():
    lrs, _, _ = fit([LRFormula("base_lr * 0.5 ** step", interval="step"), GradientAccumulationScheduler({0: 4, 1: 2})])
    assert lrs.of(0) == [0.1 * 0.5**step for step in range(1 + 2 + 2)]
    constant = [LRFormula("base_lr * (steps - step)", interval="step"), GradientAccumulationScheduler({0: 2})]
    assert fit(constant)[0].of(0) == pytest.approx([0.1 * (6 - step) for step in range(6)])


def test_unknown_totals_are_named():
    with pytest.raises(FormulaError, match="position 11: 'steps' isn't known"):
        fit([LRFormula("base_lr * steps", interval="step")], max_epochs=-1)


def test_manual_optimization_with_two_optimizers():
    class Gan(Net):
        automatic_optimization = False

        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            for optimizer in self.optimizers():
                loss = super().training_step(batch, batch_idx)
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()

        def configure_optimizers(self):
            return [torch.optim.SGD(self.body.parameters(), 0.1), torch.optim.SGD(self.head.parameters(), 0.2)]

    lrs, _, _ = fit([LRFormula("base_lr * 0.5 ** step", interval="step")], Gan(), max_epochs=1)
    assert lrs.of(0) == [0.1, 0.2, 0.05, 0.1, 0.025, 0.05, 0.0125, 0.025]
    lrs, _, _ = fit([LRFormula("base_lr * 0.5 ** step", interval="step", optimizer=1)], Gan(), max_epochs=1)
    assert lrs.of(0) == [0.1, 0.2, 0.1, 0.1, 0.1, 0.05, 0.1, 0.025]


def test_the_same_callback_in_a_new_fit_starts_anew():
    formula = LRFormula("lr * 0.5")
    first, _, _ = fit([formula])
    second, _, _ = fit([formula])
    assert first.seen == second.seen


class Staged(L.Callback):
    """Makes the optimizers anew at an epoch, from another LR or the same."""

    def __init__(self, epoch, lr):
        self.epoch, self.lr = epoch, lr

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            pl_module.lr = self.lr
            trainer.strategy.setup_optimizers(trainer)


@pytest.mark.parametrize("lr", [0.1, 0.02])
@pytest.mark.parametrize("order", [0, 1])
def test_new_optimizers_in_mid_fit_follow_the_formula(lr, order):
    def run(expression, **options):
        callbacks = [LRFormula(expression, **options), Staged(2, lr)]
        return fit(callbacks[::-1] if order else callbacks, max_epochs=4)[0].of(0)

    bases = [0.1, 0.1, lr, lr]
    closed = run("base_lr * 0.5 ** epoch")
    assert closed[::4] == [base * 0.5**epoch for epoch, base in enumerate(bases)]
    assert run("lr * 0.5")[::4] == pytest.approx([base * 0.5 ** (epoch + 1) for epoch, base in enumerate(bases)])
    warm = run("base_lr", warmup_steps=10)
    assert warm == pytest.approx([bases[at // 4] * min(1, (at + 1) / 11) for at in range(16)])


def test_groups_built_anew_in_mid_epoch_follow_the_formula():
    class Rebuild(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 6:
                optimizer = trainer.optimizers[0]
                groups = [list(group["params"]) for group in optimizer.param_groups]
                optimizer.param_groups.clear()
                for params in groups:
                    optimizer.add_param_group({"params": params, "lr": 0.2})

    lrs, _, _ = fit([Rebuild(), LRFormula("base_lr * 0.5 ** epoch")])
    assert lrs.of(0) == [0.1] * 4 + [0.05] * 2 + [0.1] * 2 + [0.05] * 4


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("0.95 ** epoch", "becomes 1 where the optimizer has 0.1"),
        ("min(1, (epoch + 1) / 3)", "multiply it by base_lr"),
        (lambda epoch: 0.95**epoch, "becomes 1 where the optimizer has 0.1"),
        ("0.05 * 0.95 ** epoch", None),
        ("base_lr * 0.95 ** epoch", None),
        (lambda epoch: 0.05, None),
    ],
)
def test_a_factor_in_the_place_of_an_lr_is_told(given, told):
    class One(Net):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    if told is None:
        fit([LRFormula(given)], One())
    else:
        with pytest.warns(UserWarning, match=told):
            fit([LRFormula(given)], One())


@pytest.mark.parametrize("given", ["cosine", "linear", "exponential", "wsd", "polynomial"])
def test_a_preset_by_epoch_in_a_run_of_one_is_told(given):
    with pytest.warns(UserWarning, match="the run has one epoch.*interval='step' changes it at each step"):
        fit([LRFormula(preset=given)], max_epochs=1)
    lrs, _, _ = fit([LRFormula(preset=given, interval="step")], max_epochs=1)
    assert lrs.of(0)[-1] < max(lrs.of(0))
    fit([LRFormula(preset=given)], fast_dev_run=True)
    fit([LRFormula(preset=given, warmup_steps=3)], max_epochs=1)


@pytest.mark.parametrize(("epochs", "last"), [(2, 0.5), (3, 0.5), (5, 0.5), (10, 0.5), (20, 0.25)])
def test_the_decay_of_wsd_comes_in_short_runs_too(epochs, last):
    lrs, _, _ = fit([LRFormula(preset="wsd")], Net(batches=1), max_epochs=epochs)
    assert lrs.of(0)[-1] == pytest.approx(0.1 * last)
