"""What everything costs, in one command: tables of ratios, measured side by side in one run.

    python -m recipes.benchmarks            # all: some 15 minutes on an otherwise idle machine
    python -m recipes.benchmarks callbacks  # a part: range_test, callbacks, growth, ranks

``range_test``: a range test of 100 steps over 100 bare Lightning steps, its memory and what it writes, beside
Lightning's finder and torch-lr-finder. ``callbacks``: a training step with each callback and with all four, beside
LearningRateMonitor, LambdaLR and ReduceLROnPlateau. ``growth``: cost over the number of observations, points, trials
and runs. ``ranks``: collectives on 2 and on 64 ranks. What suggestions and decays are worth is measured by
``recipes.benchmarks.suggestion``, ``.plateau`` and ``.search``.
"""

from __future__ import annotations

from recipes.benchmarks import callbacks_cost, growth, range_test_cost, ranks
from recipes.benchmarks.harness import MODELS, run_parts

PARTS = {
    "range_test": lambda: range_test_cost.report(list(MODELS), 5),
    "callbacks": callbacks_cost.report,
    "growth": lambda: [part() for part in (growth.rules, growth.curves, growth.search, growth.tab)],
    "ranks": lambda: ranks.report([2, 64]),
}


if __name__ == "__main__":
    run_parts(PARTS, __doc__)
