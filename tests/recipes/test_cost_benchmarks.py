"""The cost benchmarks run, and what they count without a clock holds."""

from lr_lightning import LRRangeTest
from recipes.benchmarks import callbacks_cost, growth, range_test_cost, ranks


def test_a_range_test_needs_as_many_collectives_on_64_ranks_as_on_2():
    make = lambda: [LRRangeTest(min_lr=1e-9, max_lr=1e-7, num_steps=20, apply=False, progress_bar=False)]  # noqa: E731
    counts = [ranks.count(many, make(), steps=5) - ranks.count(many, [], steps=5) for many in (2, 64)]
    # Without a descent a sweep is taken again with three times the steps. DDP broadcasts buffers at each of them.
    taken = 20 + 3 * 20
    # One reduce a window of 10 steps, with the barrier that Lightning puts before it.
    assert counts[0] == counts[1] == {"all_reduce": taken // 10, "barrier": taken // 10, "broadcast": taken}


def test_a_range_test_writes_nothing_where_lightnings_finder_writes_the_weights():
    names = ("lr_lightning LRRangeTest", "Lightning LearningRateFinder")
    ours, lightnings = (range_test_cost._elsewhere("tiny", tool)[1] for tool in names)
    assert ours == 0
    assert lightnings > 4 * 38_794  # bytes of the parameters


def test_every_variant_gets_its_turns():
    [*_, last] = callbacks_cost.measure(turns=2, log_every=2)
    assert set(last) == set(callbacks_cost.variants())
    assert min(last.values()) > 0


def test_growth_prints_its_tables(capsys):
    growth.search((10, 20))
    growth.tab((1, 3))
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows == ["axes", "1", "2", "runs", "1", "3"]
