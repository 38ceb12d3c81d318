"""Two real gloo processes: what weights say is one, also resumed, whether they are copied or sharded."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.warm import Warm
from tests.distributed import decays


def launch(warm: Warm, folder: Path, kind: str, resume: Path | None = None) -> list[dict[str, Any]]:
    """The reports of both ranks."""
    own = {"DS_ACCELERATOR": "cpu"}
    job = {"kind": kind, "resume": resume and str(resume)}
    return warm.run(
        "tests.distributed.decays:gated", folder, ranks=2, environment=own, ok=True, limit=180, **job
    ).reports


def test_copied_and_sharded_weights_say_the_same(warm, tmp_path):
    first, second = launch(warm, tmp_path / "ddp", "ddp")
    assert first == second
    assert first["weights"] == 37
    again, other = launch(warm, tmp_path / "ddp", "ddp", tmp_path / "ddp" / "half.ckpt")
    assert again == other
    assert again["lrs"] == first["lrs"][-len(again["lrs"]) :]
    # A new DDP wrapper orders its gradient buckets anew: the weights differ in the last bit, and late they hardly move.
    assert again["positions"] == first["positions"]
    assert again["drift"] == pytest.approx(first["drift"], rel=5e-3)
    for kind in ("fsdp2", "fsdp1"):
        one, two = launch(warm, tmp_path / kind, kind)
        assert one == two  # every rank has the whole sample
        assert one["weights"] == 37
        assert one["lrs"] == first["lrs"]
        assert one["positions"] == first["positions"]
        # Sharded gradients are summed in another order, and late in the run the weights hardly differ from before.
        assert one["drift"] == pytest.approx(first["drift"], rel=5e-3)
        if kind == "fsdp1":
            continue  # torch 2.13 crashes where it gathers a full state dict of FSDP1 on CPU
        again, other = launch(warm, tmp_path / kind, kind, tmp_path / kind / "half.ckpt")
        assert again == other
        assert again["lrs"] == one["lrs"][-len(again["lrs"]) :]
        assert again["history"] == one["history"]
        assert again["positions"] == one["positions"]  # the samples from before the checkpoint are there
        assert again["drift"] == pytest.approx(one["drift"], rel=5e-3)


@pytest.mark.parametrize("name", decays.KEEPERS)
def test_what_is_kept_in_param_groups_is_there_after_a_resume(warm, tmp_path, name):
    """FSDP2 loads an optimizer's groups without what others have put into them."""
    job = {"job": "tests.distributed.decays:kept", "ranks": 2, "ok": True, "kind": "fsdp2", "name": name}
    whole = warm.run(**job, folder=tmp_path).report
    steps = [0.9 ** (step // 4 + (name == "recursive")) for step in range(40)]
    if name == "decay":
        assert len({round(lr / step, 9) for lr, step in zip(whole, steps, strict=True)}) > 4
    else:
        assert whole == pytest.approx([whole[0] / steps[0] * step for step in steps])
    assert (whole[0] == pytest.approx(0.1 * steps[0])) == (name not in ("range test", "search"))
    resumed = warm.run(**job, folder=tmp_path, resume=str(tmp_path / "half.ckpt")).report
    assert resumed == whole[26:]
    if name == "base_lr":  # a fit that has nothing left to train saves what it was given
        assert warm.run(**job, folder=tmp_path, resume=str(tmp_path / "half.ckpt"), epochs=6).report == []
        assert warm.run(**job, folder=tmp_path, resume=str(tmp_path / "again.ckpt")).report == whole[26:]


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None and "CI" not in os.environ, reason="deepspeed is an extra"
)
@pytest.mark.parametrize("kind", ["zero1", "zero3"])
def test_deepspeed_shards_say_the_same_after_a_resume(warm, tmp_path, kind):
    one, two = launch(warm, tmp_path / kind, kind)
    assert one == two
    assert one["weights"] >= 37  # with what DeepSpeed pads
    assert one["drift"] > 0
    again, other = launch(warm, tmp_path / kind, kind, tmp_path / kind / "half.ckpt")
    assert again == other
    assert again["lrs"] == one["lrs"][-len(again["lrs"]) :]
    assert again["positions"] == one["positions"]
    assert again["drift"] == pytest.approx(one["drift"], rel=5e-3)
