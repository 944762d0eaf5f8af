"""What a search tells its trackers: every trial as it ends, and the front in the end."""

from __future__ import annotations

from typing import Any

from edgelm import tracking
from edgelm.search.result import SearchResult, Trial


def track_trial(trial: Trial, so_far: SearchResult) -> None:
    """Log a trial that ended, and how many are on the front with it."""
    tracking.next_part()
    found: dict[str, Any] = {
        "number": trial.number,
        "seconds": trial.seconds,
        "failed": trial.state == "failed",
        "parameters": trial.parameters,
        **_values(trial, so_far.metric),
    }
    tracking.log("trial", found, step=1)
    tracking.log("front", {"trials": len(so_far.front)})


def track_front(result: SearchResult) -> None:
    """Log the trials that no other beats, the best quality first: a curve for each of quality, latency and size."""
    known = {trial.number: trial for trial in result.trials}
    for number in result.front:
        tracking.next_part()
        tracking.log("front", {"number": number} | _values(known[number], result.metric), step=1)


def _values(trial: Trial, metric: str) -> dict[str, Any]:
    return {metric: trial.quality, "latency_ms": trial.latency_ms, "size_mb": trial.size_mb}
