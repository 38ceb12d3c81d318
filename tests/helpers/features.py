"""Modules, optimizers, schedulers and loaders put together of features that keep state where a checkpoint has none."""

import copy
import functools
import heapq
import itertools
import threading
from array import array
from collections import Counter, deque
from contextvars import ContextVar
from dataclasses import make_dataclass
from queue import Queue
from types import SimpleNamespace

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

Slotted = make_dataclass("Slotted", [("n", float)], slots=True)


def counted(module, value):
    """Each feature turns what it keeps into a number that the loss depends on: a trace shows in the weights."""
    return 1e-3 * (value % 7)


class Attributes:
    def made(self, module):
        module.kinds = Slotted(0), array("q", [0]), np.array([[0]], dtype=object), bytearray(1), deque([0], 3)
        module.counter, module.deep = itertools.count(), SimpleNamespace(a=SimpleNamespace(b=SimpleNamespace(n=0)))

    def step(self, module, loss):
        slots, numbers, objects, raw, last = module.kinds
        slots.n, numbers[0], raw[0] = slots.n + 1, numbers[0] + 1, (raw[0] + 1) % 256
        objects[0, 0] += 1
        last.append(last[-1] + 1)
        module.deep.a.b.n += 1
        total = slots.n + numbers[0] + objects[0, 0] + raw[0] + sum(last) + module.deep.a.b.n + next(module.counter)
        return counted(module, total)


class Teacher:
    """An average of the network that no checkpoint knows of."""

    def made(self, module):
        module.teacher = [copy.deepcopy(module.net)]

    def step(self, module, loss):
        for old, new in zip(module.teacher[0].parameters(), module.net.parameters(), strict=True):
            old.data.lerp_(new.data, 0.1)
        return counted(module, float(module.teacher[0][0].weight.detach().sum()))


class Inner:
    """An optimizer with a scheduler and a head of its own, kept in a helper."""

    def made(self, module):
        head = nn.Linear(8, 1)
        optimizer = torch.optim.Adam(head.parameters(), 0.01)
        module.__dict__["helper"] = {"head": head, "o": optimizer, "s": torch.optim.lr_scheduler.StepLR(optimizer, 3)}

    def step(self, module, loss):
        with torch.enable_grad():
            module.helper["o"].zero_grad()
            (module.helper["head"](torch.ones(1, 8)) - 1).square().sum().backward()
        module.helper["o"].step()
        module.helper["s"].step()
        return counted(module, float(module.helper["head"].weight.detach().sum()))


history: list[float] = []
ids = itertools.count()


class Shared:
    """What isn't the module's alone: its class's, its file's, the thread's, a context's, a cache, a default, queues."""

    count = 0

    def made(self, module):
        global ids
        Shared.count, ids = 0, itertools.count()
        history.clear()
        self.step.__func__.__defaults__[0].clear()
        module.variable, module.own, module.waiting = ContextVar("variable", default=0), threading.local(), Queue()
        module.own.n, module.counts, module.best = 0, Counter(), []
        module.cached = functools.lru_cache(None)(lambda key: module.counts.update([key]) or module.counts.total())

    def step(self, module, loss, seen=[]):  # noqa: B006
        Shared.count += 1
        history.append(float(loss.detach()))
        seen.append(1)
        module.own.n += 1
        module.variable.set(module.variable.get() + 1)
        module.waiting.put(1)
        heapq.heappush(module.best, -history[-1])
        total = Shared.count + len(history) + len(seen) + module.own.n + module.variable.get() + module.waiting.qsize()
        return counted(module, total + next(ids) + len(module.best) + module.cached(Shared.count // 3))


class Layers:
    """Settings of torch's own layers, hooks and structure."""

    def made(self, module):
        module.late, module.grown = None, nn.ModuleList()

    def step(self, module, loss):
        module.net[2].p *= 0.97
        if module.late is None:
            module.late = module.net[1].register_forward_hook(lambda layer, inputs, output: 0.9 * output)
        if len(module.grown) < 3:
            module.grown.append(nn.Linear(1, 1))
        return counted(module, len(module.grown) + module.net[2].p)


class Buffers:
    """A buffer that is resized, a memory that grows, an observer's rebound range."""

    def made(self, module):
        module.register_buffer("range", torch.zeros(0))
        module.memory = []

    def step(self, module, loss):
        if module.range.numel() == 0:
            module.range.resize_(2).zero_()
        module.range[0] += float(loss.detach())
        module.memory = [*module.memory[-5:], loss.detach().clone()]
        module.memory[0].add_(1)
        return counted(module, float(module.range.sum() + sum(module.memory)))


class Random:
    """Generators of the module's own."""

    def made(self, module):
        module.rngs = [np.random.default_rng(0), torch.Generator().manual_seed(1), np.random.PCG64(2)]

    def step(self, module, loss):
        first, second, third = module.rngs
        total = first.normal() + torch.rand(1, generator=second).item() + third.random_raw() % 5
        return counted(module, float(total))


class Closures:
    """A closure's variables and a default argument."""

    def made(self, module):
        count, seen = 0, []

        def called(value, held=seen):
            nonlocal count
            count += 1
            held.append(value)
            return count + len(seen)

        module.called = called

    def step(self, module, loss):
        return counted(module, module.called(1))


class Parameters:
    """Numbers on the parameters themselves."""

    def made(self, module):
        module.net[0].weight.uses = 0

    def step(self, module, loss):
        module.net[0].weight.uses += 1
        return counted(module, module.net[0].weight.uses)


FEATURES = {
    kind.__name__.lower(): kind
    for kind in (Attributes, Teacher, Inner, Shared, Layers, Buffers, Random, Closures, Parameters)
}


class Lookahead(torch.optim.Optimizer):
    def __init__(self, params, lr):
        self.inner, self.count = torch.optim.Adam(params, lr), 0
        super().__init__(self.inner.param_groups, {})
        self.param_groups = self.inner.param_groups

    @torch.no_grad()
    def step(self, closure=None):
        loss = self.inner.step(closure)
        self.count += 1
        if self.count % 3 == 0:
            for p in itertools.chain.from_iterable(group["params"] for group in self.param_groups):
                p.copy_(self.state[p].setdefault("slow", p.clone()).lerp_(p, 0.5))
        return loss


class Two(torch.optim.Optimizer):
    """One optimizer to Lightning, two inside: matrices and vectors."""

    def __init__(self, params, lr):
        params = list(params)
        super().__init__(params, {"lr": lr})
        self.parts = [
            torch.optim.SGD([p for p in params if p.ndim > 1], lr, momentum=0.9),
            torch.optim.Adam([p for p in params if p.ndim < 2], lr),
        ]

    def step(self, closure=None):
        loss = closure() if closure is not None else None
        for part in self.parts:
            part.param_groups[0]["lr"] = self.param_groups[0]["lr"]
            part.step()
        return loss


class Growing(torch.optim.SGD):
    """Adds a param group at its first step."""

    def __init__(self, params, lr):
        super().__init__(params, lr, momentum=0.9)

    def step(self, closure=None):
        if len(self.param_groups) == 1:
            self.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": self.param_groups[0]["lr"]})
        return super().step(closure)


OPTIMIZERS = {
    "sgd": lambda params, lr: torch.optim.SGD(params, lr, momentum=0.9),
    "adamw": torch.optim.AdamW,
    "tensor-lr": lambda params, lr: torch.optim.Adam(params, torch.tensor(lr, dtype=torch.float64)),
    "lookahead": Lookahead,
    "two": Two,
    "growing": Growing,
}


class Own:
    """No subclass of torch's."""

    def __init__(self, optimizer):
        self.optimizer, self.count, self.values = optimizer, 0, [float(g["lr"]) for g in optimizer.param_groups]

    def step(self):
        self.count += 1
        for group, base in zip(self.optimizer.param_groups, self.values, strict=False):
            lr = base / (1 + 0.1 * self.count)
            group["lr"] = torch.full_like(group["lr"], lr) if isinstance(group["lr"], torch.Tensor) else lr

    def state_dict(self):
        return {"count": self.count, "values": self.values}

    def load_state_dict(self, state):
        vars(self).update(state)


SCHEDULERS = {
    "none": None,
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20),
    "one-cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(
        o, float(o.param_groups[0]["lr"]), total_steps=40, cycle_momentum="momentum" in o.defaults
    ),
    "own": Own,
    "hidden": lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.9),
}


class Pairs(Dataset):
    def __init__(self, size=64):
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(size, 8, generator=generator)
        self.y = (self.x @ torch.randn(8, 1, generator=generator)) + 0.1 * torch.randn(size, 1, generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Told(Pairs):
    """Counts what was read, and is told the loss."""

    def __init__(self):
        super().__init__()
        self.reads, self.losses = [], {}

    def __getitem__(self, index):
        self.reads.append(index)
        return self.x[index] * (1 + 1e-4 * len(self.reads) + 1e-4 * len(self.losses)), self.y[index]


class Shifting(Sampler):
    def __init__(self):
        self.start = 0

    def __len__(self):
        return 64

    def __iter__(self):
        self.start += 1
        return iter([(self.start + i) % 64 for i in range(64)])


class Mix:
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, items):
        x, y = (torch.stack(parts) for parts in zip(*items, strict=True))
        return x + 0.1 * float(self.rng.normal()), y


class Stream:
    """Not torch's: plays on, with a state of its own."""

    def __init__(self):
        self.data, self.passes, self.rng = Pairs(), 0, np.random.RandomState(0)

    def __len__(self):
        return 8

    def __iter__(self):
        self.passes += 1
        for part in range(8):
            x, y = self.data.x[part * 8 : part * 8 + 8], self.data.y[part * 8 : part * 8 + 8]
            yield x + 0.01 * self.passes + 0.01 * float(self.rng.normal()), y


LOADERS = {
    "shuffled": lambda: DataLoader(Pairs(), 8, shuffle=True),
    "generator": lambda: DataLoader(Pairs(), 8, shuffle=True, generator=torch.Generator().manual_seed(5)),
    "told": lambda: DataLoader(Told(), 8),
    "sampler": lambda: DataLoader(Pairs(), 8, sampler=Shifting()),
    "collate": lambda: DataLoader(Pairs(), 8, collate_fn=Mix()),
    "stream": Stream,
}


class Featured(L.LightningModule):
    """A regression with the features named."""

    def __init__(self, lr, features, optimizer, scheduler, loader):
        super().__init__()
        self.start, self.names = lr, (optimizer, scheduler, loader)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))
        self.features = [FEATURES[name]() for name in features]
        for feature in self.features:
            feature.made(self)

    def training_step(self, batch, batch_idx):
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        data = getattr(self.trainer.train_dataloader, "dataset", None)
        if isinstance(data, Told):
            data.losses[batch_idx] = float(loss.detach())
        return loss * (1 + sum(feature.step(self, loss) for feature in self.features))

    def train_dataloader(self):
        return LOADERS[self.names[2]]()

    def configure_optimizers(self):
        optimizer = OPTIMIZERS[self.names[0]](self.net.parameters(), self.start)
        make = SCHEDULERS[self.names[1]]
        if make is None:
            return optimizer
        scheduler = make(optimizer)
        if self.names[1] == "hidden":
            self.schedule = scheduler
            return optimizer
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def lr_scheduler_step(self, scheduler, metric):
        scheduler.step()

    def on_train_batch_end(self, *_):
        if self.names[1] == "hidden":
            self.schedule.step()
