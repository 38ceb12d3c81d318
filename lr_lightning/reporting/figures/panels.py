"""Which metrics share a panel: all losses do; accuracy, F1 and the like have panels of their own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_STAGE = re.compile(r"(?:^|[-_/ .])(?:train(?:ing)?|val(?:id(?:ation)?)?|test|epoch|step)(?=$|[-_/ .])", re.IGNORECASE)


@dataclass(frozen=True)
class Panel:
    """One panel of the training picture.

    Attributes:
        title: Title of its axis.
        axis: Name of its axis: the losses have ``y``, the LR has ``y2``.
        tags: The metrics in it.
        scale: ``linear`` where a log axis never makes sense, else empty.
    """

    title: str
    axis: str
    tags: tuple[str, ...]
    scale: str = ""


def panels_of(tags: Sequence[str], title: str = "loss") -> list[Panel]:
    """The panels of some metrics, losses first.

    >>> [(panel.title, panel.axis) for panel in panels_of(["train_loss", "val_accuracy", "train_accuracy"])]
    [('train_loss', 'y'), ('accuracy', 'y3')]
    """
    groups: dict[str, list[str]] = {}
    for tag in tags:
        groups.setdefault("" if is_loss(tag) else kind_of(tag), []).append(tag)
    found = []
    for number, key in enumerate(sorted(groups, key=lambda key: (key != "", list(groups).index(key)))):
        own = groups[key]
        name = own[0] if len(own) == 1 else title if key == "" else key
        found.append(Panel(name, f"y{number + 2 if number else ''}", tuple(own), "" if key == "" else "linear"))
    return found


def is_loss(tag: str) -> bool:
    """Whether a metric is a loss, as far as its name tells.

    >>> is_loss("val/Loss"), is_loss("accuracy")
    (True, False)
    """
    return bool(re.search(r"loss|nll|(?:^|[^a-z])(?:mse|mae|bce|elbo|cross_?entropy)(?![a-z])", tag.lower()))


def kind_of(tag: str) -> str:
    """A metric without the stage it was measured in: those of one kind share a panel.

    >>> kind_of("val_accuracy"), kind_of("train/f1"), kind_of("val")
    ('accuracy', 'f1', 'val')
    """
    return _STAGE.sub("", tag).strip("-_/ .") or tag
