"""Sweeps that show no descent: a slower one, and then the order of magnitude that the explosion tells."""

import math

import numpy as np
import pytest

from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.fallback import BELOW_EXPLOSION, SPAN, below_explosion
from lr_lightning.rules.range_test.interval import constant_factor
from lr_lightning.rules.range_test.protocol import SweepSettings, Training, carry_out, range_test
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.second_look import SECOND_LOOK
from lr_lightning.rules.range_test.shallow import BIAS, is_shallow
from lr_lightning.rules.range_test.trials import HEADROOM
from tests.helpers.curves import explosion

SGD = Training(batches=100, adaptive=False)


def noisy(lrs, edge, seed=0, end=math.inf, noise=0.1):
    """Noise around 1 up to ``edge``, then an explosion, not finite beyond ``end``."""
    losses = 1 + noise * np.random.default_rng(seed).normal(size=len(lrs)) + 50 * explosion(lrs, edge)
    return np.where(np.asarray(lrs) > end, math.nan, losses).tolist()


def asked(curve, training=SGD, **options):
    """The result of a test whose sweeps have ``curve(lrs)`` for losses, and the steps of each series."""
    taken = {}

    def take(steps):
        ladder = settings.lrs if steps.series == "sweep 0" else slow.lrs
        taken.setdefault(steps.series, []).extend(steps.lrs)
        return curve(ladder)[steps.index : steps.index + len(steps.lrs)]

    settings = SweepSettings(**options)
    slow = SweepSettings(**{**options, "num_steps": settings.num_steps * SECOND_LOOK})
    return carry_out(range_test(settings, training), take), taken


@pytest.mark.parametrize("edge", [1e-3, 1e-1, 1.0])
@pytest.mark.parametrize("end", [1.0, 3.0], ids=["not finite", "diverging"])
@pytest.mark.parametrize("adaptive", [True, False])
def test_below_a_descent_that_noise_hides_the_explosion_tells(edge, end, adaptive):
    last = edge * end if end == 1.0 else math.inf
    result, taken = asked(lambda lrs: noisy(lrs, edge, end=last), Training(batches=100, adaptive=adaptive))
    assert list(taken) == ["sweep 0", "second look"]
    assert result.status in ("no_descent", "non_finite")
    assert 1 / 3 < result.suggestion / (HEADROOM[adaptive] * edge / BELOW_EXPLOSION) < 3
    assert result.interval[1] / result.interval[0] >= SPAN[1] / SPAN[0]
    assert result.interval[0] < result.suggestion < result.interval[1] < edge
    assert "order of magnitude" in result.reason
    assert RangeTestResult.from_dict(result.to_dict()) == result


def test_a_constant_lr_gets_its_own():
    constant = Training(batches=100, adaptive=False, decays=False, train_steps=4800)
    found, decayed = (asked(lambda lrs: noisy(lrs, 0.1), training)[0] for training in (constant, SGD))
    assert found.suggestion == pytest.approx(decayed.suggestion / HEADROOM[False] * constant_factor(4800))


@pytest.mark.parametrize(("adaptive", "noise"), [(True, 0.1), (True, 2.0), (False, 0.1)])
def test_trials_start_there_where_the_budget_allows_them(adaptive, noise):
    training = Training(batches=100, adaptive=adaptive)
    result, taken = asked(lambda lrs: [*noisy(lrs, 0.1, noise=noise), *[1.0] * 300], training, budget=600)
    assert is_shallow(result, BIAS) == (noise == 0.1), "the noise alone falls by more"
    first = next(lrs[0] for series, lrs in taken.items() if series.startswith("trial"))
    assert first == pytest.approx(asked(lambda lrs: noisy(lrs, 0.1, noise=noise), training)[0].suggestion)
    assert result.trials


@pytest.mark.parametrize("planned", [100, 300])
def test_a_rise_that_the_range_ends_in_stands_for_an_explosion(planned):
    """The batches of a cycle differ by more than the loss has risen by when the range ends: nothing stops the sweep."""

    def curve(lrs):
        batches = 0.1 * np.random.default_rng(0).normal(size=8)
        return [2 + batches[i % 8] + 0.02 * lr for i, lr in enumerate(lrs)]

    result, _ = asked(curve, num_steps=planned)
    assert result.coverage.share == 1
    assert result.status == "no_descent"
    assert 0.3 < result.suggestion / (HEADROOM[False] * 1.0 / BELOW_EXPLOSION) < 3  # the mean has risen by 1 % at LR 1
    assert "order of magnitude" in result.reason
    assert asked(lambda lrs: curve([min(lr, 0.3) for lr in lrs]), num_steps=planned)[0].suggestion is None


@pytest.mark.parametrize(
    ("losses", "why"),
    [
        (lambda lrs: [1.0] * len(lrs), "the LR has no effect"),
        (lambda lrs: noisy(lrs, 1e9), "nothing explodes"),
        (lambda lrs: noisy(lrs, 3e-7), "it explodes at once"),
        (lambda lrs: [math.nan] * len(lrs), "there is no loss"),
    ],
)
def test_without_an_explosion_there_is_no_answer(losses, why):
    assert asked(losses)[0].suggestion is None, why


def test_a_result_with_an_answer_stays():
    lrs = SweepSettings().lrs
    good = analyze(lrs, [2 - 1 / (1 + (1e-2 / lr) ** 2) + lr**2 for lr in lrs])
    assert below_explosion(good, None) is good


def test_a_classic_reading_is_given_as_it_is():
    assert asked(lambda lrs: noisy(lrs, 0.1), rule="valley")[0].suggestion is None


def test_a_driver_that_could_go_no_further_is_not_asked_again():
    series = []

    def take(steps):
        series.append(steps.series)
        return noisy(SweepSettings().lrs, 0.1)[steps.index : steps.index + (10 if steps.index < 50 else 3)]

    carry_out(range_test(SweepSettings(), SGD), take)
    assert set(series) == {"sweep 0"}
