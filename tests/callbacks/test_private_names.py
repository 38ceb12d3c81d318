"""A canary per private name of Lightning that the sandbox uses: a release that moves one fails here, by name."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.loops.fetchers import _DataLoaderIterDataFetcher, _PrefetchDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.loops.utilities import _select_data_fetcher
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader

from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from tests.helpers.modules import Classifier


@pytest.fixture(scope="module")
def live():
    """Trainer, and what its connector holds, in the middle of a training batch."""

    class Look(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            self.missing = _internals.missing(trainer)
            self.connector = dict(vars(trainer._logger_connector))
            self.loop = dict(vars(trainer.fit_loop.epoch_loop))
            self.val_loader = trainer.fit_loop.epoch_loop.val_loop._combined_loader
            self.loader = trainer.fit_loop._combined_loader
            self.stepped = trainer.fit_loop.epoch_loop._batches_that_stepped

    look = Look()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=3, callbacks=[look], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Classifier())
    return trainer, look


def test_nothing_is_missing(live):
    assert live[1].missing == []


@pytest.mark.parametrize("name", _sandbox._CONNECTOR_FIELDS)
def test_logger_connector_fields_are_plain_attributes(live, name):
    assert name in live[1].connector


TRAINER_FIELDS = ("callbacks", "loggers", "should_stop", "profiler")  # that a sandbox sets


@pytest.mark.parametrize("name", [*TRAINER_FIELDS, "_logger_connector", "precision_plugin"])
def test_trainer_fields(live, name):
    assert hasattr(live[0], name)


def test_trainer_fields_can_be_set(live):
    trainer = live[0]
    for name in TRAINER_FIELDS:
        setattr(trainer, name, getattr(trainer, name))


def test_the_fit_loop_keeps_its_loaders(live):
    trainer, look = live
    assert isinstance(look.loader, CombinedLoader)
    assert isinstance(look.val_loader, CombinedLoader)
    assert "epoch_loop" in vars(trainer.fit_loop)


def test_batches_that_stepped_counts_optimizer_steps(live):
    assert live[1].stepped == 2  # seen at the start of the third batch
    assert _sandbox.logging_step(live[0]) == 3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("__init__", ["trainer", "min_steps", "max_steps"]),
        ("advance", ["data_fetcher"]),
        ("_update_learning_rates", ["interval", "update_plateau_schedulers"]),
        ("_num_ready_batches_reached", []),
        ("_should_accumulate", []),
    ],
)
def test_methods_of_the_training_epoch_loop(name, parameters):
    assert list(inspect.signature(getattr(_TrainingEpochLoop, name)).parameters)[1:] == parameters


def test_advance_asks_the_fetcher_for_a_batch_and_whether_it_is_done():
    source = inspect.getsource(_TrainingEpochLoop.advance)
    assert "next(data_fetcher)" in source
    assert "data_fetcher.done" in source
    assert "self._num_ready_batches_reached" in inspect.getsource(_TrainingEpochLoop._should_accumulate)
    assert "_update_learning_rates" in inspect.getsource(_TrainingEpochLoop.update_lr_schedulers)


def test_fetchers(live):
    fetcher = _select_data_fetcher(live[0], RunningStage.TRAINING)
    assert isinstance(fetcher, _PrefetchDataFetcher)
    loader = DataLoader(torch.zeros(4, 1))
    for kind in (fetcher, _DataLoaderIterDataFetcher()):
        kind.setup(CombinedLoader([loader]))
        iter(kind)
        assert kind.done is False
        kind.teardown()


def test_combined_loaders_can_be_copied_with_other_loaders():
    import copy

    first, second = DataLoader(torch.zeros(4, 1)), DataLoader(torch.ones(4, 1))
    combined = CombinedLoader([first])
    iter(combined)
    twin = copy.copy(combined)
    twin._iterator = None
    twin.flattened = [second]
    assert combined.flattened == [first]
    assert combined._iterator is not None
    assert next(iter(twin))[0][0].item() == 1.0


def test_torchs_loader_keeps_persistent_workers_in_iterator():
    assert vars(DataLoader(torch.zeros(4, 1)))["_iterator"] is None


def test_ddp():
    strategy = DDPStrategy()
    assert getattr(strategy, "_pl_static_graph_delay_done", False) is False  # not before Lightning 2.6
    assert not inspect.signature(strategy.configure_ddp).parameters
    for name in _sandbox._DDP_FLAGS:
        assert f"self.{name}" in inspect.getsource(torch.nn.parallel.DistributedDataParallel)


def test_strategy_hooks_and_results(live):
    from lightning.pytorch.trainer import call

    assert list(inspect.signature(call._call_strategy_hook).parameters)[:2] == ["trainer", "hook_name"]
    assert isinstance(inspect.getattr_static(type(live[0]), "_results"), property)
    assert list(inspect.signature(L.LightningModule._on_before_batch_transfer).parameters)[1:] == [
        "batch",
        "dataloader_idx",
    ]


OPTIONAL = {"_pl_static_graph_delay_done"}  # looked for, used where it is
# Set on a copy, its readers are tested above; an attribute of torch's DDP.
NOT_LIGHTNINGS = {"_iterator", "_comm_hooks"}


def private_names(path):
    """Every private name of something else than ``self`` that a file reads, sets or names in a string."""
    tree = ast.parse(path.read_text())
    own = {f"_{stem.name.strip('_')}".removesuffix(".py") for stem in path.parent.glob("_*.py")}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            found |= set(node.value.split("."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("lightning", "torch")):
            found |= {alias.name for alias in node.names}
    return {name for name in found if re.fullmatch(r"_[A-Za-z]\w*", name)} - own


def test_every_private_name_in_use_is_checked_at_fit_start():
    listed = {part for path in _internals.SANDBOX for part in path.split(".")}
    assert private_names(Path(_sandbox.__file__)) - OPTIONAL - NOT_LIGHTNINGS <= listed


def test_no_other_file_uses_lightnings_private_names():
    """What lies below ``trainer``, ``loop``, ``connector`` or ``strategy`` belongs to Lightning."""
    package = Path(_sandbox.__file__).parents[2]
    for path in sorted(package.rglob("*.py")):
        if path.parent.name == "_sandbox":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.fullmatch(r"_[a-z]\w*", node.attr):
                assert not re.match(r"(self\.)?_?(trainer|loop|connector|strategy)\b", ast.unparse(node.value)), path
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lightning"):
                assert not [alias.name for alias in node.names if alias.name.startswith("_")], path


# Hides one name from this package alone, as a release that has moved it would, and fits with each callback.
HIDE = """
import os, sys, warnings
warnings.simplefilter("ignore")
import lightning as L, torch
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loops import fetchers, training_epoch_loop, utilities
from lightning.pytorch.trainer import call
from lr_lightning.callbacks._sandbox import internals as _internals

def hide(path):
    *owners, name = path.split(".")
    if owners[0] == "lightning":
        module = sys.modules.get(".".join(owners))
        if module is None:  # of a class
            delattr(getattr(sys.modules[".".join(owners[:-1])], owners[-1]), name)
        else:
            delattr(module, name)
        return
    kind = kinds[".".join(owners)]
    def get(self, asked, plain=kind.__getattribute__):
        if asked == name and "lr_lightning" in sys._getframe(1).f_code.co_filename:
            raise AttributeError(asked)
        return plain(self, asked)
    kind.__getattribute__ = get

model = BoringModel()
trainer = L.Trainer(accelerator="cpu", max_steps=2, logger=False, enable_checkpointing=False,
                    enable_progress_bar=False, enable_model_summary=False)
kinds = {}
for path in _internals.SANDBOX:
    owner, value = [], None
    for part in path.split(".")[:-1] if path.startswith("trainer") else ():
        value = trainer if part == "trainer" and value is None else model if part == "lightning_module" \
            else None if value is None else getattr(value, part)
        owner.append(part)
        if value is not None:
            kinds[".".join(owner)] = type(value)

def fit(path, name):
    hide(path)
    import lr_lightning
    class Seen(L.Callback):
        def on_train_batch_start(self, *_):
            raise SystemExit("a batch was reached")
    callback = getattr(lr_lightning, name)(*(["base_lr"] if name == "LRFormula" else []))
    trainer.callbacks = [callback, Seen()]
    try:
        trainer.fit(model)
    except RuntimeError as error:
        return str(error)
    return "no error"

USERS = {"LRRangeTest": _internals.SANDBOX, "LRSearch": _internals.SANDBOX[-1:], "LRFormula": _internals.STEP,
         "PlateauDecay": (*_internals.STEP, *_internals.METRICS), "LRCurves": _internals.STEP}
sys.stderr = open(os.devnull, "w")
for name, paths in USERS.items():
    for path in dict.fromkeys(paths):
        read, write = os.pipe()
        if not os.fork():
            try:
                text = fit(path, name)
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
            os.write(write, text.encode()[:4000])
            os._exit(0)
        os.close(write)
        text = b"".join(iter(lambda: os.read(read, 65536), b"")).decode()
        os.wait()
        print(name, path, text.replace(chr(10), " "), sep="\\t")
"""


def test_a_name_that_moved_is_a_clear_error_at_fit_start(tmp_path):
    """One process a name and callback: the package must still import, and the fit end before its first batch."""
    done = subprocess.run([sys.executable, "-c", HIDE], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 2]
    assert len(lines) == len(set(_internals.SANDBOX)) + 1 + 3 * len(_internals.STEP) + len(_internals.METRICS)
    for name, path, text in lines:
        # Below a missing attribute everything else is missing as well.
        assert text.startswith(f"{name} needs ") and path in text, f"{name} without {path}: {text}"  # noqa: PT018
        assert f"which lightning {L.__version__} lacks" in text
        assert "was tested with 2.5" in text
