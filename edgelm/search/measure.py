"""A bundle's latency, measured by the leading process while everyone else on this machine stands still."""

from __future__ import annotations

import json
from pathlib import Path

from edgelm.data.dataset import Dataset
from edgelm.search.folder import write_json
from edgelm.search.timing_lock import exclusive

_WARMUP = 20


def measure(bundle: Path, texts: Dataset, *, locks: Path, threads: int, runs: int, device: str) -> float:
    """p50 of one text at a time (ms), by the real runtime in a process of its own; the whole profile is kept as
    BUNDLE/../profile.json.

    Trials that run in parallel disturb each other's timing, so only one is measured at a time, and the others wait (see
    `quiet`): a front drawn from latencies that a neighbour stretched would be a front of luck.
    """
    from edgelm.profile.pipeline import profile

    with exclusive(locks):
        (found,) = profile(bundle, data=texts, threads=threads, warmup=_WARMUP, runs=runs, loads=1, device=device)
    write_json(bundle.with_name("profile.json"), json.loads(json.dumps(found.to_dict())))
    return found.cases[0].percentile_ms(50)
