"""The default rule: decay when a window that could have seen a trend towards better values shows none.

What is asked at each observation, in this order. Numbers without a source were chosen on the halves ``choose`` and
``report`` of ``recipes.benchmarks.plateau``; ``check`` is for its figures.

1. Is the endgame due? In the last ``endgame`` of a planned run, once the weights don't move on (:mod:`.motion`), the LR
   follows (1 - u) ** 2 down to a thousandth (:mod:`.cuts`; Hägele et al., arXiv 2405.18392).
2. Is a kick on trial over? After two windows at most (:mod:`.kick`).
3. Is the value evidence? Not if it isn't finite, nor in a cooldown. The others are averaged into blocks.
4. Has the level jumped up? Then the stage starts again with the blocks since.
5. Could the newest window have seen a trend? It is stretched until the error of its change, times ``resolution`` and
   widened for AR(1) noise, is below what the slowest power law that fits the stage would have gained (:mod:`.stats`):
   1.5 times that in the first half of a planned run, where nothing is cut without it, .7 times later.
6. Is there a trend? Mann-Kendall's S below 0 (Mann, Econometrica 13, 1945), and in the second half a fall by a fifth of
   that gain. Then the LR stays. Otherwise it is a plateau:
7. Is the ground flat? The last cut brought nothing, or there was no progress since the start. A kick may begin.
8. Can the cut wait? For the endgame, if plateaus are more than half a cut ahead of (time left) ** 1.5 or the last cut
   was useless; for a longer window after a useless cut; for weights that move on. If not, the LR is cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lr_lightning.rules.checks import check_choice, check_count, check_flag, check_number
from lr_lightning.rules.plateau import kick as kicks
from lr_lightning.rules.plateau import stats
from lr_lightning.rules.plateau.cuts import begins, due_cuts, most_cuts, waits
from lr_lightning.rules.plateau.decision import Decision, check_at, check_factor, check_mode
from lr_lightning.rules.plateau.motion import Drift, moving_on
from lr_lightning.rules.plateau.stats import Block
from lr_lightning.rules.plateau.trend_state import MOST_BLOCKS, Stage, TrendState, state_of

ON_FLAT: tuple[str, ...] = ("keep", "kick", "decay")
_LEAST_BLOCKS = 8  # in a window, before blocks are dropped rather than merged: fewer show no trend; a choice
_MOST_STRETCH, _STRETCH_STEP = 4.5, 1.3  # of a window, on the benchmark; the step saves work, a choice
_MOST_BACKOFF, _OPEN_BACKOFF = (
    4.0,
    2.0,
)  # of the window after useless cuts, where the end is known or not: the benchmark
_RAMP = 30  # observations from which full certainty is asked for: runs of 25 validations can't wait for it; a choice
_EARLY, _LATE = 1.5, 0.7  # of the resolution, in a planned run's first half (on signals: alarms 4 % -> 0) and later
_STALLED, _STALLED_LATE = 0.0, 0.2  # a fall of less than this share of what going on would have brought is none
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
        endgame: Largest share of a planned run over which the LR goes down anyway, to a thousandth: half of it while
            the weights move on, and in the first half of the run only if they are seen to bounce. 0: none.
        factor: The multiplier of a cut, for the number of cuts in the endgame.
        on_flat_region: What to do on flat ground: ``"keep"`` waits for the stretched windows, ``"decay"`` doesn't,
            ``"kick"`` raises LR and momentum once and takes that back if it brings no progress (:mod:`.kick`).
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
    endgame: float = 0.65
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
        stage = replace(state.stage, blocks=(), begin=state.at, width=1, level=None, backoff=1.0, waited=False)
        return replace(state, total=0.0, count=0, stage=stage)

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
        at = check_at(at, seen, state.at)
        if horizon is not None and horizon * (1.0 - self.endgame) < at < horizon:  # nothing is trained after the end
            state, cuts = self._due(state, at, horizon, drift)
            if cuts > 0:
                return self._force(kicks.settled(state), value, at, horizon, cuts)
        length, least = self._span(state.stage.kick_at, horizon, 1.0)
        if why := kicks.why_over(state, value, at, length, least, self._last_kick(horizon)):
            return self.end_kick(replace(state, seen=seen, at=at), value, why)
        return self._take(state, float(value), seen, at, horizon, drift)

    def _last_kick(self, horizon: float | None) -> float | None:
        """Where no kick may be on trial any more."""
        if horizon is None or not self.endgame:
            return horizon
        return horizon * max(0.5, 1.0 - self.endgame)

    def end_kick(self, state: TrendState, value: float, why: str) -> tuple[TrendState, Decision]:
        """Take a kick on trial back."""
        finite = math.isfinite(value)
        stage = replace(kicks.taken_back(state.stage, state.at), nonfinite=state.nonfinite + (not finite))
        row = 0 if finite else state.nonfinite_row + 1
        words = f"the raised LR is taken back: {why}"
        return TrendState(state.seen, state.at, 0.0, 0, row, stage), Decision("unkick", words, "flat")

    def _take(
        self, state: TrendState, value: float, seen: int, at: float, horizon: float | None, drift: Drift | None
    ) -> tuple[TrendState, Decision]:
        stage = state.stage
        if not math.isfinite(value):
            stage = replace(stage, nonfinite=stage.nonfinite + 1)
            row = state.nonfinite_row + 1
            state = TrendState(seen, at, state.total, state.count, row, stage)
            return state, Decision("keep", f"{value} is no evidence ({row} in a row)", "non-finite")
        if stage.cooldown:
            stage = replace(stage, cooldown=stage.cooldown - 1, begin=at)
            reason = f"cooling down, {stage.cooldown} more observations"
            return TrendState(seen, at, 0.0, 0, 0, stage), Decision("keep", reason, "cooldown")
        signed = value if self.mode == "min" else -value
        total, count = state.total + signed, state.count + 1
        if stage.top_count < 3:
            top = (stage.top * stage.top_count + signed) / (stage.top_count + 1)
            stage = replace(stage, top=top, top_count=stage.top_count + 1)
        if count < stage.width:
            return TrendState(seen, at, total, count, 0, stage), _WAIT
        swings = stats.swing(stage.swings, stage.blocks, total / count)
        stage = replace(stage, blocks=(*stage.blocks, (total / count, count, at)), swings=swings)
        stage, decision = self._judge(self._bound(stage, at, horizon), seen, at, horizon, drift)
        return TrendState(seen, at, 0.0, 0, 0, stage), decision

    def _span(self, at: float, horizon: float | None, stretch: float) -> tuple[float, int]:
        """The window: positions it covers, and observations it holds at least."""
        if isinstance(self.window, int):
            return 0.0, max(3, round(self.window * stretch))
        if horizon is not None:
            return self.window * horizon * stretch, math.ceil(self.least * stretch)
        return self.open_window * at * stretch, math.ceil(self.open_least * stretch)

    def _bound(self, stage: Stage, at: float, horizon: float | None) -> Stage:
        """Keep at most 128 blocks: merge neighbours while a window keeps 4 or more, else drop the oldest."""
        if len(stage.blocks) < MOST_BLOCKS:
            return stage
        window = stats.newest(stage.blocks, stage.begin, *self._span(at, horizon, 1.0))
        if window is not None and len(window) < _LEAST_BLOCKS:
            dropped = stage.blocks[: MOST_BLOCKS // 4]
            return replace(stage, blocks=stage.blocks[MOST_BLOCKS // 4 :], begin=dropped[-1][2])
        merged = stats.halve(stage.blocks)
        return replace(stage, blocks=merged, width=stage.width * 2, swings=stats.swings_of(merged))

    def _judge(
        self, stage: Stage, seen: int, at: float, horizon: float | None, drift: Drift | None
    ) -> tuple[Stage, Decision]:
        if stats.jumped(stage.blocks):
            if stage.kicked == kicks.TRIAL:
                return self._unkick(stage, at, "a sustained jump upwards", {})
            restarted = replace(stage, blocks=stage.blocks[-3:], begin=stage.blocks[-4][2])
            return restarted, Decision("keep", "a sustained jump upwards: the stage starts again", "restart")
        window, missed = self._window(stage, seen, at, horizon)
        if window is None:
            return stage, _WAIT
        means = stats.means_of(window)
        s, p = stats.mann_kendall(means)
        evidence = self._evidence(stage, window, means, p)
        early = horizon is not None and at < 0.5 * horizon
        if s < 0 and stats.fall(means) >= (_STALLED if early else _STALLED_LATE) * missed:
            return self._progress(stage, evidence, p)
        evidence["swing"] = stats.lag_one([block[0] for block in window])
        late = means[len(means) // 2 :]
        evidence["p_late"], evidence["rise"] = stats.mann_kendall(late)[1], stats.rise(late)
        if drift is not None and drift.ratio is not None:
            evidence["drift"] = drift.ratio
        return self._plateau(stage, seen, at, horizon, means, evidence, drift)

    def _progress(self, stage: Stage, evidence: dict[str, float], p: float) -> tuple[Stage, Decision]:
        if stage.kicked == kicks.TRIAL and p < kicks.HELPS and self._signed(evidence["level"]) < stage.kick_level:
            words = f"the raised LR brings progress (p = {p:.2g}): it stays"
            return replace(stage, kicked=kicks.OVER), Decision("keep", words, "kick", evidence)
        return stage, Decision("keep", f"a downward trend (p = {p:.2g})", "progress", evidence)

    def _window(
        self, stage: Stage, seen: int, at: float, horizon: float | None
    ) -> tuple[Sequence[Block] | None, float]:
        """The newest blocks that could have seen a slow decay, and its gain over them; none while there are too few."""
        stretch = stage.backoff if self.on_flat_region == "keep" else 1.0
        # Where the end isn't known, a cut too late costs more than one too early: no waiting for certainty.
        patient = self.resolution > 0 and self.on_flat_region != "decay"
        patient = patient and (horizon is not None or isinstance(self.window, int)) and stage.kicked != kicks.TRIAL
        most = stretch * _MOST_STRETCH
        promised = stats.promise(stage.blocks, stage.begin) if patient and stage.level is None else None
        early = horizon is not None and at < 0.5 * horizon
        widened = stats.inflation(stats.correlation(stage.swings))
        sure = self.resolution * widened * self._certainty(seen, at, horizon if early else None)
        while True:
            window = stats.newest(stage.blocks, stage.begin, *self._span(at, horizon, stretch))
            if window is None or not patient:
                return window, 0.0
            gain = self._missed(stage, window, seen, promised)
            if stats.change_error(window) * sure <= gain:
                return window, gain
            if stretch >= most:
                return (None if early else window), 0.0
            stretch = min(most, stretch * _STRETCH_STEP)

    def _certainty(self, seen: int, at: float, horizon: float | None) -> float:
        """Share of the resolution that is asked for; ``horizon`` in the first half of a planned run only.

        A run of 25 validations can't wait for certainty: fewer observations are asked for less.
        """
        if horizon is None:
            return _LATE * min(1.0, seen / _RAMP)
        if self.on_flat_region == "kick":  # a kick that comes late is none, and one too many is taken back
            return min(1.0, seen / _RAMP)
        return min(_EARLY, seen / _RAMP * horizon / at) if at > 0 else _EARLY

    def _missed(self, stage: Stage, window: Sequence[Block], seen: int, promised: float | None) -> float:
        """What a slow decay would gain over a window."""
        if promised is not None:
            held = len(stage.blocks) - len(window)
            start, end = stage.blocks[held - 1][2] if held else stage.begin, stage.blocks[-1][2]
            return stats.gain(promised, (end - start) / (end - stage.begin))
        means = stats.means_of(window)
        share = min(0.9, sum(block[1] for block in window) / max(seen, 1))
        drop = stage.top - sum(means) / len(means)
        return drop * -math.log(1.0 - share) / math.log(max(seen, 2))

    def _evidence(self, stage: Stage, window: Sequence[Block], means: Sequence[float], p: float) -> dict[str, float]:
        level = sum(means) / len(means)
        return {
            "p": p,
            "observations": float(sum(block[1] for block in window)),
            "blocks": float(len(window)),
            "level": self._signed(level),
            "noise": stats.spread(means),
            "drop": stage.top - level,
            # A bent decline looks like correlated noise.
            "correlation": stats.lasting(stage.swings, stage.blocks, window) if p >= 0.05 else 0.0,
        }

    def _signed(self, value: float) -> float:
        return value if self.mode == "min" else -value

    def _plateau(
        self,
        stage: Stage,
        seen: int,
        at: float,
        horizon: float | None,
        means: Sequence[float],
        evidence: dict[str, float],
        drift: Drift | None,
    ) -> tuple[Stage, Decision]:
        level, noise = sum(means) / len(means), evidence["noise"]
        # 1.7 standard errors of a difference of two window means.
        bar = 1.7 * max(noise, stage.noise) * math.sqrt(2 / len(means))
        useless = stage.level is not None and level > stage.level - bar
        flat = useless or evidence["drop"] <= noise
        words = self._words(evidence, useless, flat)
        if stage.kicked == kicks.TRIAL:
            return self._unkick(stage, at, "no progress", evidence)
        early = drift is not None and drift.ratio is None
        moving = moving_on(evidence)
        if self.on_flat_region == "kick" and (flat and not early if moving is None else moving):
            length, least = self._span(at, horizon, 1.0)
            if stage.kicked == kicks.NONE and kicks.fits(at, seen, length, least, self._last_kick(horizon)):
                return kicks.begun(stage, at, seen, level), Decision("kick", words, "flat", evidence)
        if horizon is not None and self._can_wait(stage, at / horizon, useless):
            # Once the endgame has begun, waiting for it is no news.
            what, more = ("", "") if stage.end_cuts or at >= horizon else ("endgame", "; can wait for the endgame")
            return stage, Decision("keep", words + more, "flat" if flat else "plateau", evidence, waits=what)
        most = _OPEN_BACKOFF if horizon is None else _MOST_BACKOFF
        backoff = min(most, 2.0 * stage.backoff) if useless else 1.0
        if backoff > stage.backoff and not stage.waited and self.on_flat_region == "keep":
            words += f"; first a window {backoff:g} times as long"
            waiting = replace(stage, backoff=backoff, waited=True)
            return waiting, Decision("keep", words, "flat", evidence, waits="window")
        if drift is not None and drift.holds:
            what = "samples" if drift.ratio is None else "weights"
            held = Decision("keep", f"{words}; {drift.words}", "flat", evidence, waits=what)
            return replace(stage, waited=True), held
        after = self._after_cut(stage, at, level, noise, backoff)
        return after, Decision("decay", words, "flat" if flat else "plateau", evidence)

    def _can_wait(self, stage: Stage, done: float, useless: bool) -> bool:
        """Whether to leave a cut to the endgame, which will bring what is left of them: none is worth a risk."""
        if not self.endgame or self.on_flat_region == "decay":
            return False
        if done >= 1.0:
            return True  # nothing is trained after the end
        return useless or stage.depth >= most_cuts(done, self.factor)

    def _after_cut(self, stage: Stage, at: float, level: float, noise: float, backoff: float) -> Stage:
        return replace(
            stage,
            blocks=(),
            begin=at,
            width=1,
            level=level,
            noise=noise,
            backoff=backoff,
            waited=False,
            kicked=0,
            cooldown=self.cooldown,
            cuts=stage.cuts + 1,
            depth=stage.depth + 1,
        )

    def _unkick(self, stage: Stage, at: float, why: str, evidence: dict[str, float]) -> tuple[Stage, Decision]:
        words = f"the raised LR is taken back: {why}"
        return kicks.taken_back(stage, at), Decision("unkick", words, "flat", evidence)

    def _words(self, evidence: dict[str, float], useless: bool, flat: bool) -> str:
        count, way = int(evidence["observations"]), "downward" if self.mode == "min" else "upward"
        text = f"no {way} trend over the last {count} observations"
        text += f" (p = {evidence['p']:.2g}), noise ±{evidence['noise']:.2g}"
        if useless:
            return text + "; the last cut brought nothing"
        return text + ("; no progress since the start" if flat else "")

    def _due(self, state: TrendState, at: float, horizon: float, drift: Drift | None) -> tuple[TrendState, int]:
        """How many cuts the endgame asks for now."""
        stage, done = state.stage, at / horizon
        if not stage.end_cuts and waits(self.endgame, done, drift):
            travels = drift is not None and drift.travels
            return replace(state, stage=replace(stage, held=done)) if travels else state, 0
        length = 1.0 - begins(self.endgame, stage.held)
        step = (at - state.at) / horizon / length
        return state, due_cuts(1.0 - (1.0 - done) / length, step, self.factor) - stage.depth

    def _force(
        self, state: TrendState, value: float, at: float, horizon: float, cuts: int
    ) -> tuple[TrendState, Decision]:
        stage = state.stage
        finite = math.isfinite(value)
        row = 0 if finite else state.nonfinite_row + 1
        stage = replace(
            stage,
            cuts=stage.cuts + cuts,
            depth=stage.depth + cuts,
            end_cuts=stage.end_cuts + cuts,
            nonfinite=stage.nonfinite + (not finite),
        )
        reason = f"endgame: {max(0.0, 1.0 - at / horizon):.0%} of the planned run is left"
        evidence = {"left": max(0.0, 1.0 - at / horizon)}
        state = TrendState(state.seen + 1, at, state.total, state.count, row, stage)
        return state, Decision("decay", reason, "endgame", evidence, cuts)
