"""A second, independent way through a fit's training data."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader

from lr_lightning.callbacks._traces import MACHINERY
from lr_lightning.optim.snapshot import Kept


def state_of_data(train: Any, val: Any, others: Mapping[str, Any], beside: Kept) -> Kept:
    """The state of combined loaders, of their samplers, generators, collate functions and datasets, and of others."""
    roots = {"train_dataloader": train.flattened}
    if val is not None:
        roots["val_dataloaders"] = val.flattened
    named = {
        name if len(loaders) == 1 else f"{name}[{index}]": loader
        for name, loaders in roots.items()
        for index, loader in enumerate(loaders)
    }
    return Kept({**named, **others}, machinery=MACHINERY, data=True, beside=beside)


def twin(loader: Any, isolate_data: bool) -> Any:
    """A loader over the same dataset with samplers of its own and no iterator yet.

    Raises:
        TypeError: If the loader is a one-shot iterator, or a sampler of it can't be copied.
    """
    if not isinstance(loader, DataLoader):
        if isinstance(loader, Iterator):
            raise TypeError(
                f"the training data are a one-shot iterator ({type(loader).__name__}): what a range test reads from it "
                "would be lost for training. Wrap the stream in a DataLoader over an IterableDataset whose __iter__ "
                "opens it anew (a DALI reader: builds it)"
            )
        return loader
    copied = copy.copy(loader)
    copied.__dict__["_iterator"] = None  # persistent workers belong to the fit's own loader
    shared = {id(g): g for g in generators(loader)} | {id(d): d for d in datasets(loader)}
    for name in ("sampler", "batch_sampler"):
        if copied.__dict__.get(name) is not None:
            copied.__dict__[name] = _copied(copied.__dict__[name], shared, name)
    if isolate_data and copied.num_workers == 0:
        copied.__dict__.update(num_workers=1, prefetch_factor=2)
    return copied


def _copied(sampler: Any, shared: dict[int, Any], name: str) -> Any:
    try:
        return copy.deepcopy(sampler, shared)
    except TypeError as error:  # a generator that runs, such as torchdata's before 0.11
        raise TypeError(
            f"the dataloader's {name} {type(sampler).__name__} can't be copied, which a range test needs to leave its "
            f"position alone: {error}"
        ) from None


def samplers(loader: Any) -> Iterator[Any]:
    """A loader's samplers, the outer ones first."""
    for sampler in (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        while sampler is not None:
            yield sampler
            sampler = getattr(sampler, "sampler", None)


def generators(loader: Any) -> list[torch.Generator]:
    """The RNGs that a loader and its samplers were given."""
    owners = (loader, *samplers(loader))
    found = {id(g): g for g in (getattr(o, "generator", None) for o in owners) if isinstance(g, torch.Generator)}
    return list(found.values())


def datasets(loader: Any) -> Iterator[Any]:
    """Datasets and those they wrap; a loader of another kind than torch's is its own dataset."""
    dataset = getattr(loader, "dataset", None) if isinstance(loader, DataLoader) else loader
    while dataset is not None and hasattr(dataset, "__dict__"):
        yield dataset
        dataset = getattr(dataset, "dataset", None)
