"""Two real gloo processes with different data: PlateauDecay decides once, and the same on both."""

JOB = "tests.distributed.decays:paired"


def test_ranks_agree_and_a_resumed_run_too(warm, tmp_path):
    first, second = warm.run(JOB, tmp_path, ranks=2, ok=True).reports
    assert first == second
    assert all(first["history"])
    again, other = warm.run(JOB, tmp_path, ranks=2, ok=True, resume=str(tmp_path / "half.ckpt")).reports
    assert again == other
    assert again["lrs"] == first["lrs"][-len(again["lrs"]) :]
    # Steps and LRs: a new DDP wrapper orders its gradient buckets anew, the losses differ in the last bit.
    steps = [
        [[(entry["step"], entry["new_lr"]) for entry in part] for part in run["history"]] for run in (first, again)
    ]
    assert steps[0] == steps[1]
