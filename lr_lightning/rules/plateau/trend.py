"""The default rule: decay when a window that could have seen a trend towards better values shows none.

What is asked at each observation, in this order. Numbers without a source were chosen on the halves ``choose`` and
``report`` of ``recipes.benchmarks.plateau``; ``check`` is for its figures.

1. Is the endgame due? In the last ``endgame`` of a planned run the LR follows half a cosine down to a thousandth, in
   cuts (:mod:`.cuts`; Hägele et al., arXiv 2405.18392).
2. Is a kick on trial over? After two windows at most (:mod:`.kick`).
3. Is the value evidence? Not if it isn't finite, nor in a cooldown. The others are averaged into blocks.
4. Could the newest window have seen a trend (:mod:`.window`)? It is stretched until the error of its change, times
   ``resolution`` and widened for AR(1) noise, is below what the slowest power law that fits the stage would have gained
   (:mod:`.stats`). In the first half of a planned run nothing is cut without that certainty.
5. Is there a trend? Mann-Kendall's S below 0 (Mann, Econometrica 13, 1945), and in the second half a fall by a fifth of
   that gain. Then the LR stays. Otherwise it is a plateau:
6. Is the ground flat? The last cut brought nothing, or there was no progress since the start. A kick may begin.
7. Can the cut wait? For the endgame, if plateaus are more than half a cut ahead of (time left) ** 2 or the last cut
   was useless; for weights that move on. If not, the LR is cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from lr_lightning.rules.checks import check_choice, check_count, check_flag, check_number
from lr_lightning.rules.plateau import kick as kicks
from lr_lightning.rules.plateau import stats
from lr_lightning.rules.plateau.cuts import due_cuts, most_cuts
from lr_lightning.rules.plateau.decision import Decision, check_at, check_factor, check_mode
from lr_lightning.rules.plateau.evidence import evidence_of, of_plateau, words_of
from lr_lightning.rules.plateau.motion import Drift, moving_on
from lr_lightning.rules.plateau.trend_state import Stage, TrendState, state_of
from lr_lightning.rules.plateau.window import Moment, Windows

ON_FLAT: tuple[str, ...] = ("keep", "kick", "decay")
_STALLED = 0.2  # from half a planned run on, a fall of less than this share of what going on would have brought is none
_BAR = 1.7  # standard errors of a difference of two window means, for a cut to have brought something; the benchmark
_WAIT = Decision("keep", "the window fills", "waiting")


@dataclass(frozen=True)
class TrendRule:
    """Decay when the newest window shows no downward trend (Mann-Kendall's S >= 0).

    The rule compares, adds and averages values, and measures differences against differences: shifting or scaling the
    metric changes no decision.

    Attributes:
        mode: ``"min"`` or ``"max"``.
        window: A float is a share of the planned run, an int a number of observations.
        open_window: Where the end isn't known and ``window`` is a share: share of the run so far.
        least: Fewest observations in a window.
        open_least: The same where the end of the run isn't known.
        resolution: How many standard errors of the window's change a slow decay must amount to; 0: don't ask. Not
            asked where the window is a share of a run whose end isn't known.
        cooldown: Observations after a decay that are ignored.
        endgame: Last share of a planned run over which the LR goes down anyway, to a thousandth. 0: none.
        factor: The multiplier of a cut, for the number of cuts in the endgame.
        on_flat_region: What to do on flat ground: ``"keep"`` waits for certainty, ``"decay"`` doesn't, ``"kick"``
            raises LR and momentum once and takes that back if it brings no progress (:mod:`.kick`).
        gate: Whether whoever feeds the rule is to follow the weights and hand ``drift`` in, so that a cut waits while
            they move on. None: where the end of the run is planned, unless ``on_flat_region="decay"``.

    >>> rule = TrendRule()
    >>> state, decision = rule.observe(rule.start(), 1.0)
    >>> decision.action
    'keep'
    """

    name: ClassVar[str] = "trend"
    mode: str = "min"
    window: float | int = 0.08
    open_window: float = 0.25
    least: int = 5
    open_least: int = 5
    resolution: float = 2.25
    cooldown: int = 0
    endgame: float = 0.8
    factor: float = 0.5
    on_flat_region: str = "keep"
    gate: bool | None = None

    def __post_init__(self) -> None:
        check_mode(self.mode)
        if isinstance(self.window, int):
            check_count("window", self.window, 3)
        else:
            check_number("window", self.window, 0.0, 1.0, open_low=True)
        check_number("open_window", self.open_window, 0.0, 1.0, open_low=True)
        check_count("least", self.least, 3)
        check_count("open_least", self.open_least, 3)
        check_number("resolution", self.resolution, 0.0)
        check_count("cooldown", self.cooldown, 0)
        check_number("endgame", self.endgame, 0.0, 1.0)
        check_factor(self.factor)
        check_choice("on_flat_region", self.on_flat_region, ON_FLAT)
        if self.gate is not None and check_flag("gate", self.gate) and self.on_flat_region == "decay":
            raise ValueError("gate=True waits in flat regions: it doesn't go with on_flat_region='decay'")

    def start(self) -> TrendState:
        """The state before the first observation."""
        return TrendState()

    def load(self, state: Mapping[str, Any]) -> TrendState:
        """The state that ``to_dict`` wrote.

        Raises:
            ValueError: If it is anything else.
        """
        return state_of(state)

    def restart(self, state: TrendState) -> TrendState:
        """Forget the values of this stage: the LR was changed by something else."""
        return replace(state, total=0.0, count=0, stage=replace(state.stage.anew(state.at), level=None))

    @cached_property
    def _windows(self) -> Windows:
        own = (self.window, self.open_window, self.least, self.open_least, self.resolution, self.on_flat_region)
        return Windows(*own)

    def observe(
        self,
        state: TrendState,
        value: float,
        at: float | None = None,
        horizon: float | None = None,
        drift: Drift | None = None,
    ) -> tuple[TrendState, Decision]:
        """Take one value in; where ``drift`` says that the weights move on, a plateau isn't cut."""
        seen = state.seen + 1
        now = Moment(seen, check_at(at, seen, state.at), horizon, drift)
        if (cuts := self._due(state, now)) > 0:
            return self._force(kicks.settled(state), value, now, cuts)
        length, least = self._windows.span(state.stage.kick_at, horizon)
        if why := kicks.why_over(state, value, now.at, length, least, self._last_kick(horizon)):
            return self.end_kick(replace(state, seen=seen, at=now.at), value, why)
        return self._take(state, float(value), now)

    # 1. Is the endgame due?

    def _due(self, state: TrendState, now: Moment) -> int:
        """How many cuts the endgame asks for now."""
        if now.horizon is None or not now.horizon * (1.0 - self.endgame) < now.at < now.horizon:
            return 0  # nothing is trained after the end
        length = now.horizon * self.endgame
        done, step = 1.0 - (now.horizon - now.at) / length, (now.at - state.at) / length
        due = due_cuts(done, step, self.factor)
        return due - state.stage.depth if due else 0  # before its first cut it takes no kick back

    def _force(self, state: TrendState, value: float, now: Moment, cuts: int) -> tuple[TrendState, Decision]:
        assert now.horizon is not None
        stage, lost = state.stage, not math.isfinite(value)
        stage = replace(
            stage,
            cuts=stage.cuts + cuts,
            depth=stage.depth + cuts,
            end_cuts=stage.end_cuts + cuts,
            nonfinite=stage.nonfinite + lost,
        )
        left = max(0.0, 1.0 - now.at / now.horizon)
        row = state.nonfinite_row + 1 if lost else 0
        state = TrendState(now.seen, now.at, state.total, state.count, row, stage)
        return state, Decision(
            "decay", f"endgame: {left:.0%} of the planned run is left", "endgame", {"left": left}, cuts
        )

    # 2. Is a kick on trial over?

    def _last_kick(self, horizon: float | None) -> float | None:
        """Where no kick may be on trial any more."""
        if horizon is None or not self.endgame:
            return horizon
        return horizon * max(0.5, 1.0 - self.endgame)

    def end_kick(self, state: TrendState, value: float, why: str) -> tuple[TrendState, Decision]:
        """Take a kick on trial back."""
        lost = not math.isfinite(value)
        stage, decision = self._unkick(state.stage, state.at, why, {})
        stage = replace(stage, nonfinite=state.nonfinite + lost)
        return TrendState(state.seen, state.at, 0.0, 0, state.nonfinite_row + 1 if lost else 0, stage), decision

    def _unkick(self, stage: Stage, at: float, why: str, evidence: dict[str, float]) -> tuple[Stage, Decision]:
        return kicks.taken_back(stage, at), Decision("unkick", f"the raised LR is taken back: {why}", "flat", evidence)

    # 3. Is the value evidence?

    def _take(self, state: TrendState, value: float, now: Moment) -> tuple[TrendState, Decision]:
        stage = state.stage
        if not math.isfinite(value):
            stage, row = replace(stage, nonfinite=stage.nonfinite + 1), state.nonfinite_row + 1
            state = TrendState(now.seen, now.at, state.total, state.count, row, stage)
            return state, Decision("keep", f"{value} is no evidence ({row} in a row)", "non-finite")
        if stage.cooldown:
            stage = replace(stage, cooldown=stage.cooldown - 1, begin=now.at)
            reason = f"cooling down, {stage.cooldown} more observations"
            return TrendState(now.seen, now.at, 0.0, 0, 0, stage), Decision("keep", reason, "cooldown")
        signed = self._sign * value
        total, count = state.total + signed, state.count + 1
        if stage.top_count < 3:
            top = (stage.top * stage.top_count + signed) / (stage.top_count + 1)
            stage = replace(stage, top=top, top_count=stage.top_count + 1)
        if count < stage.width:
            return TrendState(now.seen, now.at, total, count, 0, stage), _WAIT
        swings = stats.swing(stage.swings, stage.blocks, total / count)
        stage = replace(stage, blocks=(*stage.blocks, (total / count, count, now.at)), swings=swings)
        stage, decision = self._judge(self._windows.bounded(stage, now), now)
        return TrendState(now.seen, now.at, 0.0, 0, 0, stage), decision

    @property
    def _sign(self) -> float:
        return 1.0 if self.mode == "min" else -1.0

    # 4. Could a window have seen a trend? 5. Is there one?

    def _judge(self, stage: Stage, now: Moment) -> tuple[Stage, Decision]:
        window, missed = self._windows.that_sees(stage, now)
        if window is None:
            return stage, _WAIT
        means = stats.means_of(window)
        s, p = stats.mann_kendall(means)
        evidence = evidence_of(stage, window, p, self._sign)
        if s < 0 and stats.fall(means) >= (0.0 if now.early else _STALLED * missed):
            return self._progress(stage, evidence, p)
        evidence |= of_plateau(window, now.drift)
        return self._plateau(stage, now, means, evidence)

    def _progress(self, stage: Stage, evidence: dict[str, float], p: float) -> tuple[Stage, Decision]:
        if stage.kicked == kicks.TRIAL and p < kicks.HELPS and self._sign * evidence["level"] < stage.kick_level:
            words = f"the raised LR brings progress (p = {p:.2g}): it stays"
            return replace(stage, kicked=kicks.OVER), Decision("keep", words, "kick", evidence)
        return stage, Decision("keep", f"a downward trend (p = {p:.2g})", "progress", evidence)

    # 6. Is the ground flat?

    def _plateau(
        self, stage: Stage, now: Moment, means: Sequence[float], evidence: dict[str, float]
    ) -> tuple[Stage, Decision]:
        level, noise = sum(means) / len(means), evidence["noise"]
        bar = _BAR * max(noise, stage.noise) * math.sqrt(2 / len(means))
        useless = stage.level is not None and level > stage.level - bar
        flat = useless or evidence["drop"] <= noise
        words = words_of(evidence, self.mode, useless, flat)
        if stage.kicked == kicks.TRIAL:
            return self._unkick(stage, now.at, "no progress", evidence)
        if self._kicks(stage, now, evidence, flat):
            return kicks.begun(stage, now.at, now.seen, level), Decision("kick", words, "flat", evidence)
        cut = Decision("decay", words, "flat" if flat else "plateau", evidence)
        if (held := self._put_off(stage, now, cut, useless)) is not None:
            return stage, held
        return self._after_cut(stage, now, level, noise), cut

    def _kicks(self, stage: Stage, now: Moment, evidence: dict[str, float], flat: bool) -> bool:
        """Whether a kick begins: once between two cuts, where the weights move on, or the metric alone looks flat."""
        if self.on_flat_region != "kick" or stage.kicked != kicks.NONE:
            return False
        moving = moving_on(evidence)
        early = now.drift is not None and now.drift.ratio is None
        if not (flat and not early if moving is None else moving):
            return False
        length, least = self._windows.span(now.at, now.horizon)
        return kicks.fits(now.at, now.seen, length, least, self._last_kick(now.horizon))

    # 7. Can the cut wait?

    def _put_off(self, stage: Stage, now: Moment, cut: Decision, useless: bool) -> Decision | None:
        """What to wait for, if for anything: the endgame, or weights that still move on."""
        if now.horizon is not None and self._can_wait(stage, now.at / now.horizon, useless):
            # Once the endgame has begun, waiting for it is no news.
            news = not stage.end_cuts and now.at < now.horizon
            words = cut.reason + ("; can wait for the endgame" if news else "")
            return Decision("keep", words, cut.cause, cut.evidence, waits="endgame" if news else "")
        if now.drift is not None and now.drift.holds:
            what = "samples" if now.drift.ratio is None else "weights"
            return Decision("keep", f"{cut.reason}; {now.drift.words}", "flat", cut.evidence, waits=what)
        return None

    def _can_wait(self, stage: Stage, done: float, useless: bool) -> bool:
        """Whether to leave a cut to the endgame, which will bring what is left of them: none is worth a risk."""
        if not self.endgame or self.on_flat_region == "decay":
            return False
        if done >= 1.0:
            return True  # nothing is trained after the end
        return useless or stage.depth >= most_cuts(done, self.factor)

    def _after_cut(self, stage: Stage, now: Moment, level: float, noise: float) -> Stage:
        stage = replace(stage.anew(now.at), cuts=stage.cuts + 1, depth=stage.depth + 1, kicked=kicks.NONE)
        return replace(stage, level=level, noise=noise, cooldown=self.cooldown)
