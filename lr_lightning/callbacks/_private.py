"""What PlateauDecay needs of Lightning's private API."""

from __future__ import annotations

from typing import Any


def fresh_metrics(trainer: Any) -> dict[str, Any]:
    """The callback metrics that the loop now running or just ended has produced, by name.

    ``trainer.callback_metrics`` also holds the metrics of loops that ended long ago.
    """
    results = trainer._results
    if results is None:
        return {}
    connector = trainer._logger_connector
    return dict(results.metrics(connector._first_loop_iter is not None)["callback"])
