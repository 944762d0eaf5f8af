"""Latencies of a bundle and of the original, measured by the leading process while all others of this machine stand
still."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.data.dataset import Dataset
from edgelm.search.folder import write_json
from edgelm.search.timing_lock import exclusive

if TYPE_CHECKING:
    from edgelm.profile.result import Profile

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
    (found,) = _profile(bundle, texts, locks=locks, threads=threads, runs=runs, device=device)
    write_json(bundle.with_name("profile.json"), json.loads(json.dumps(found.to_dict())))
    return found.cases[0].percentile_ms(50)


def measure_beside(
    original: Path, bundle: Path, texts: Dataset | None, *, locks: Path, threads: int, runs: int, device: str
) -> float:
    """p50 (ms) of what `measure` times, of a checkpoint in PyTorch: it takes turns with the bundle, whose texts and
    length it reads."""
    _, found = _profile(bundle, texts, original, locks=locks, threads=threads, runs=runs, device=device)
    return found.cases[0].percentile_ms(50)


def _profile(
    bundle: Path, texts: Dataset | None, *others: Path, locks: Path, threads: int, runs: int, device: str
) -> list[Profile]:
    from edgelm.profile.pipeline import profile
    from edgelm.profile.subject import find_subject

    subject = find_subject(bundle)
    options: dict[str, Any] = {"data": texts}
    if texts is None:
        longest = subject.longest or 2 * _CONTEXT
        options = {"contexts": [min(_CONTEXT, longest // 2)], "prompt_lengths": [min(_PROMPT, longest // 2)]}
    options |= {"compare": others, "warmup": _WARMUP, "loads": 1}
    with exclusive(locks):
        return profile(subject, threads=threads, runs=runs, device=device, **options)
