"""A bundle's latency, measured by the leading process while everyone else on this machine stands still."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgelm.data.dataset import Dataset
from edgelm.search.folder import write_json
from edgelm.search.timing_lock import exclusive

_WARMUP = 20
_CONTEXT, _PROMPT = 256, 16  # tokens, of models that write


def measure(bundle: Path, texts: Dataset | None, *, locks: Path, threads: int, runs: int, device: str) -> float:
    """p50 of one text at a time (ms), or of one token more of a model that writes, by the real runtime in a process of
    its own; the whole profile is kept as BUNDLE/../profile.json.

    Trials that run in parallel disturb each other's timing, so only one is measured at a time, and the others wait (see
    `quiet`): a front drawn from latencies that a neighbour stretched would be a front of luck.

    Args:
        texts: None: a model that writes, which is measured behind 256 tokens or half of what it holds if that is less.
    """
    from edgelm.profile.pipeline import profile
    from edgelm.profile.subject import find_subject

    subject = find_subject(bundle)
    options: dict[str, Any] = {"data": texts}
    if texts is None:
        longest = subject.longest or 2 * _CONTEXT
        options = {"contexts": [min(_CONTEXT, longest // 2)], "prompt_lengths": [min(_PROMPT, longest // 2)]}
    with exclusive(locks):
        (found,) = profile(subject, threads=threads, warmup=_WARMUP, runs=runs, loads=1, device=device, **options)
    write_json(bundle.with_name("profile.json"), json.loads(json.dumps(found.to_dict())))
    return found.cases[0].percentile_ms(50)
