"""Three kinds of plateau: a flat region, a local minimum, a noise floor; who gets across, and what PlateauDecay does.

    python -m recipes.plateaus

Two of them on one curve with real data: which petal length is the most frequent among 150 irises? The loss is nearly
flat where no petal is that long, and has a local minimum at the small petals (1.5 cm) beside the best place (4.8 cm).
SGD, SGD with momentum 0.9 and Adam look for it with batches of 30 flowers, at constant LR, with PlateauLR
(PlateauDecay's rule for plain loops) and with patience 10 (ReduceLROnPlateau's rule, at the same factor 0.5). Then a
noise floor: a CNN on the digits at an LR that is good at first and too high at the end.

Flat region: the step, not the loss, tells the optimizers apart. Adam walks at its LR whatever the slope (there in 19
steps), momentum is six times as fast as SGD (78 and 475). The batches' noise is larger than the slope: patience 10
takes that for a plateau, cuts within 20 steps, and neither SGD nor momentum ever arrives. PlateauDecay waits: both
arrive as at constant LR, SGD just before the endgame's first cut, which comes halfway through the planned run. It
can't help a slower one (that takes ``on_flat_region="kick"``).

Local minimum: SGD stays at every LR tried, momentum jumps the barrier from LR 0.5 on, Adam sometimes from 1. No decay
helps here, and no rule can know: to the loss it is a floor like any other, and all rules cut.

Noise floor: here a decay is right. The validation loss of the last three epochs (mean of three repetitions) is 0.063
with PlateauDecay and 0.141 at constant LR. Patience 10, too hasty on steps, comes too late in these 30 epochs: its unit
is the observation, not the run. Most of PlateauDecay's cuts come from its endgame, which lowers the LR towards the
planned end in any case; each cut and its reason is printed.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_iris
from torch import Tensor

from lr_lightning import PlateauDecay, PlateauLR
from lr_lightning.cli.demo import DigitsCNN
from recipes._common import BLUE, GREEN, ORANGE, RED, arguments, fit, save

LENGTHS = torch.tensor(load_iris().data[:, 2])  # petals in cm: 50 flowers around 1.5, 100 around 4.9
WIDTH, BATCH = 0.9, 30
FAR, NEAR = 9.0, 0.0  # starts: in the flat region, and left of the local minimum
GOAL = 4.0  # beyond the local minimum's barrier, at 2.9
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": torch.optim.SGD,
    "momentum": functools.partial(torch.optim.SGD, momentum=0.9),
    "Adam": torch.optim.Adam,
}
SCENES = {"flat region": (FAR, 0.2), "local minimum": (NEAR, 0.5)}  # start and LR
COLORS = {"SGD": BLUE, "momentum": GREEN, "Adam": ORANGE}
RULES: dict[str, dict[str, Any]] = {
    "constant LR": {},
    "PlateauDecay": {"rule": "trend"},
    "patience 10": {"patience": 10},
}
STYLES: dict[str, dict[str, Any]] = {
    "constant LR": {"linewidth": 1.1},
    "PlateauDecay": {"linewidth": 5, "alpha": 0.3},
    "patience 10": {"linewidth": 1.6, "linestyle": ":"},
}
TRIED = (0.03, 0.1, 0.2, 0.5, 1.0, 2.0)


def loss(place: Tensor, lengths: Tensor) -> Tensor:
    """How badly ``place`` fits the lengths; a flower that is more than some ``WIDTH`` away hardly counts (Welsch)."""
    return (1 - torch.exp(-((lengths - place) ** 2) / (2 * WIDTH**2))).mean()


@dataclass
class Run:
    """Places and LRs by step, and the decisions to change the LR."""

    places: list[float] = field(default_factory=list)
    lrs: list[float] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def arrived(self) -> int | None:
        """First step of the last stretch near the global minimum; None if the run ends elsewhere."""
        near = [abs(place - 4.8) < 0.8 for place in self.places]
        return len(near) - near[::-1].index(False) if near[-1] and not all(near) else None


def descend(optimizer: str, lr: float, start: float, steps: int, seed: int = 0, **rule: Any) -> Run:
    """Look for the most frequent petal length with batches of flowers; ``rule`` sets up a PlateauLR."""
    draw = torch.Generator().manual_seed(seed)
    place = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    moves = OPTIMIZERS[optimizer]([place], lr=lr)
    plateau = PlateauLR(moves, total=steps, interval="step", **rule) if rule else None
    run = Run()
    for step in range(steps):
        run.places.append(place.item())
        run.lrs.append(moves.param_groups[0]["lr"])
        moves.zero_grad()
        value = loss(place, LENGTHS[torch.randint(len(LENGTHS), (BATCH,), generator=draw)])
        value.backward()
        moves.step()
        decision = plateau.step(value.item()) if plateau else None
        if decision and decision.action != "keep":
            run.decisions.append({"at": step, **vars(decision), "new_lr": moves.param_groups[0]["lr"]})
    return run


def tell(name: str, decisions: list[dict[str, Any]], unit: str, most: int = 3) -> None:
    """Print the first decisions on the metric with their reasons, and count the rest."""
    judged = [d for d in decisions if d["cause"] != "endgame"]
    for d in judged[:most]:
        what = "waits at" if d["action"] == "wait" else f"{d['action']} to"
        print(f"    {name}: {what} LR {d['new_lr']:.3g} at {unit} {d['at']}: {d['reason']}")
    rest, endgame = len(judged[most:]), [d for d in decisions if d["cause"] == "endgame"]
    if rest:
        print(f"    {name}: {rest} more, to LR {judged[-1]['new_lr']:.2g}")
    if endgame:
        print(f"    {name}: endgame from {unit} {endgame[0]['at']}: {len(endgame)} decays, whatever the metric says")
    if not decisions:
        print(f"    {name}: keeps the LR to the end")


def draw_scene(axes: Any, scene: str, steps: int) -> None:
    """Run every optimizer under every rule from the scene's start; print who arrives and every decision."""
    start, lr = SCENES[scene]
    print(f"{scene}: start at {start:g} cm, LR {lr:g}; the best place is 4.8 cm")
    for optimizer, color in COLORS.items():
        for rule, style in STYLES.items():
            run = descend(optimizer, lr, start, steps, **RULES[rule])
            end = f"arrives at step {run.arrived}" if run.arrived is not None else f"ends at {run.places[-1]:.1f} cm"
            print(f"  {optimizer}, {rule}: {end}")
            axes.plot(range(1, steps + 1), run.places, color=color, **style)
            if RULES[rule]:
                tell(rule, run.decisions, "step")
    axes.set(xscale="log", xlabel="step", ylabel="place [cm]", ylim=(-0.5, 9.5), title=f"{scene}, LR {lr:g}")
    for optimizer, color in COLORS.items():
        axes.plot([], [], color=color, label=optimizer)
    for rule, style in STYLES.items():
        axes.plot([], [], color="0.3", label=rule, **style)
    axes.legend(fontsize=7, ncols=2)


def draw_landscape(axes: Any) -> None:
    """The loss over the place, all flowers at once."""
    places = torch.linspace(-0.5, 9.5, 300, dtype=torch.float64)
    axes.plot(places, [loss(place, LENGTHS) for place in places], color="0.2")
    for name, (start, _) in SCENES.items():
        axes.plot(start, loss(torch.tensor(start), LENGTHS), "o", color=RED)
        side = "left" if start < GOAL else "right"
        axes.text(start, 1.03, f"start: {name}", fontsize=8, ha=side)
    axes.plot(LENGTHS, [0.46] * len(LENGTHS), "|", color="0.6", markersize=5)
    axes.set(xlabel="place [cm]", ylabel="loss, all flowers", title="most frequent petal length of irises")
    axes.set_ylim(0.43, 1.09)


def draw_crossings(axes: Any, steps: int, seeds: int) -> None:
    """Which constant LRs bring which optimizer to the best place: full dots in every repetition."""
    print(f"arrivals within {steps} steps at constant LR, of {seeds} repetitions")
    print(f"  {'LR':24}" + "".join(f"{lr:>6g}" for lr in TRIED))
    rows = [(scene, optimizer) for scene in SCENES for optimizer in COLORS]
    for row, (scene, optimizer) in enumerate(rows):
        counts = [
            sum(descend(optimizer, lr, SCENES[scene][0], steps, seed).arrived is not None for seed in range(seeds))
            for lr in TRIED
        ]
        print(f"  {scene + ', ' + optimizer:24}" + "".join(f"{count:>6}" for count in counts))
        axes.scatter(TRIED, [-row] * len(TRIED), s=70, facecolors="none", edgecolors=COLORS[optimizer])
        alphas = [count / seeds for count in counts]
        axes.scatter(TRIED, [-row] * len(TRIED), s=70, color=COLORS[optimizer], alpha=alphas)
    axes.set(xscale="log", xlabel="learning rate", title="constant LRs that arrive (full dots)", ylim=(-5.7, 0.7))
    axes.set_yticks(
        [-row for row in range(len(rows))], [f"{scene}, {optimizer}" for scene, optimizer in rows], fontsize=8
    )


class History(L.Callback):
    """Validation loss and LR of every epoch."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.lrs: list[float] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Take both, not from the sanity check."""
        if not trainer.sanity_checking:
            self.losses.append(float(trainer.callback_metrics["val_loss"]))
            self.lrs.append(trainer.optimizers[0].param_groups[0]["lr"])


def draw_noise_floor(left: Any, right: Any, epochs: int, seeds: int) -> None:
    """Train the digits at an LR that is good at first and too high at the end, under every rule."""
    print("noise floor: a CNN on the digits, SGD with momentum, LR 0.5; validation loss")
    colors = {"constant LR": RED, "PlateauDecay": GREEN, "patience 10": "0.2"}
    for rule, color in colors.items():
        ends = []
        for seed in range(seeds):
            history = History()
            decay = [PlateauDecay("val_loss", verbose=False, **RULES[rule])] if RULES[rule] else []
            L.seed_everything(seed, verbose=False)
            fit(DigitsCNN(lr=0.5, width=8, optimizer=OPTIMIZERS["momentum"]), epochs, [*decay, history], seed)
            ends.append(sum(history.losses[-3:]) / len(history.losses[-3:]))
            label = rule if seed == 0 else None
            look = {"color": color, "alpha": 1 if seed == 0 else 0.35, "linestyle": STYLES[rule].get("linestyle", "-")}
            left.plot(history.losses, label=label, **look)
            right.plot(history.lrs, label=label, **look)
            if seed == 0 and decay:
                tell(rule, [{"at": d["epoch"], **d} for d in decay[0].history], "epoch")
        print(
            f"  {rule}: mean of the last three epochs {sum(ends) / seeds:.4f} ({', '.join(f'{x:.4f}' for x in ends)})"
        )
    left.set(xlabel="epoch", ylabel="validation loss", yscale="log", title="noise floor: the digits, LR 0.5")
    right.set(xlabel="epoch", ylabel="learning rate", yscale="log", title="noise floor: what the rules decide")
    left.legend(fontsize=8)
    right.legend(fontsize=8)


def main() -> None:
    """Play every scene, print the decisions, draw a picture."""
    options = arguments(__doc__, epochs=30, seeds=3)
    torch.set_num_threads(1)
    steps = 1000 if options.epochs > 1 else 100
    figure, ((land, flat, local), (dots, floor, lrs)) = plt.subplots(2, 3, figsize=(15, 8), layout="constrained")
    draw_landscape(land)
    draw_scene(flat, "flat region", steps)
    draw_scene(local, "local minimum", steps)
    draw_crossings(dots, steps // 2, options.seeds)
    draw_noise_floor(floor, lrs, options.epochs, options.seeds)
    save(figure, options.save, "plateaus")


if __name__ == "__main__":
    main()
