"""One rank of a launch: fits each case with a range test, then with its LR set by hand, and writes what it saw.

Started as ``python -m tests.distributed.worker FOLDER CASE...``; Lightning starts the other ranks in the same way.
"""

import faulthandler
import json
import os
import sys
from pathlib import Path

import lightning as L

import tests.conftest  # noqa: F401  (one thread)
from tests.distributed.cases import CASES
from tests.helpers.identity import LR
from tests.helpers.spy import Spy


class Dump(L.Callback):
    """Writes a rank's report when its training ends: with spawned processes nothing comes back otherwise."""

    def __init__(self, path, spy, test=None):
        self.path, self.spy, self.test = path, spy, test

    def on_train_end(self, trainer, module):
        report = {"events": self.spy.events, "step": trainer.global_step}
        if self.test is not None:
            report |= {name: getattr(self.test, name) for name in ("collectives", "runs", "calls", "nbytes", "aside")}
        if self.test is not None and (result := self.test.result) is not None:
            report |= {"suggestion": result.suggestion, "losses": [repr(x) for x in result.losses]}
            report |= {"status": result.status, "batch_size": result.batch_size}
            report |= {"group_factors": [repr(x) for x in result.group_factors]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.with_name(f"{self.path.name}-rank{trainer.global_rank}.json").write_text(json.dumps(report))


def fit(case, folder, run, lr, test=None, **fit_arguments):
    L.seed_everything(3, workers=True, verbose=False)
    spy = Spy()
    callbacks = [spy, *([test] if test is not None else []), Dump(folder / run, spy, test), *case.callbacks()]
    trainer = L.Trainer(
        accelerator="cpu", devices=case.devices, strategy=case.strategy(), callbacks=callbacks, logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        **{"max_epochs": 2, "enable_checkpointing": False, **case.settings()},
    )  # fmt: skip
    trainer.fit(case.module(lr), **fit_arguments)
    return trainer


def main(folder, *names):
    faulthandler.dump_traceback_later(0.9 * float(os.environ["LIMIT"]))  # where a rank hangs, before it is killed
    for name in names:
        case, here = CASES[name], Path(folder) / name
        trainer = fit(case, here, "tested", LR, case.kind(**case.test))
        if case.alone:
            continue
        report = json.loads((here / f"tested-rank{trainer.global_rank}.json").read_text())
        applied = report.get("suggestion") if case.test.get("apply", True) else None
        fit(case, here, "plain", applied or LR)


if __name__ == "__main__":
    main(*sys.argv[1:])
