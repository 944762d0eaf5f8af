"""The fastest model that loses no more than is allowed: latencies are tried, each half of the last while the drop
holds, then in between."""

from __future__ import annotations

import functools
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from edgelm import distributed as processes
from edgelm.budget import Budget
from edgelm.budgeting.targets import Outcome
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.lineage import digest
from edgelm.compress.pipeline import CompressResult
from edgelm.compress.pruning.constraints import Constraints
from edgelm.files.output import check_output, staged_output
from edgelm.files.output_kinds import CHECKPOINT
from edgelm.files.work import Work

_TRIES = 4
_TRIES_NAMES = r"[\d.]+x-[0-9a-f]{12}(\.json|\.work)?"
_CLOSE = 1.15  # times: what held and what did not are not worth a try in between


class Targets(Protocol):
    """What a budget means for a model."""

    @property
    def goal(self) -> Constraints:
        """What the recipe's `fit` stages aim at."""

    @property
    def whole(self) -> float:
        """What the uncut model costs in the terms of a latency."""

    def outcome(self, result: CompressResult) -> Outcome:
        """The result with its verdicts, that of the drop last."""


def find_fastest(
    budget: Budget,
    resolve_budget: Callable[[Budget], Targets],
    run: Callable[..., CompressResult],
    *,
    asked: str,
    output: Path,
    overwrite: bool = False,
    time_limit: float | None = None,
    began: float | None = None,
) -> Outcome:
    """Compress to several latencies, and keep the fastest model that holds `budget.max_drop`; if none does, the one
    that loses least.

    Every try is a compression of its own, and ends with its equal part of the time limit. Finished tries are kept
    beside the output until the end: the same call, after an interruption, goes on with the next.

    Args:
        budget: bounds the drop alone.
        resolve_budget: what a budget means for the model; the drop stays bounded in all of them.
        run: `compress` with everything but output, goal and time limit.
        began: when the time limit began to run, by `time.monotonic()`; None: with this call.
        asked: what tries depend on besides their latency: those of another call are not taken up.

    Raises:
        OutputExistsError: `output` is there and `overwrite` is not set.
    """
    began = time.monotonic() if began is None else began
    check_output(output, overwrite=overwrite, kind=CHECKPOINT)
    whole = resolve_budget(Budget(max_latency_ms=math.inf)).whole
    tries = output.with_name(output.name + ".tries")
    held, failed, factor = 1.0, math.inf, 2.0
    found: list[Outcome] = []
    for place in range(_TRIES):
        targets = resolve_budget(replace(budget, max_latency_ms=whole / factor))
        folder = tries / f"{factor:.3g}x-{digest(asked, targets.goal.fingerprint())[:12]}"
        part = None if time_limit is None else time_limit / _TRIES
        since = {} if part is None else {"began": began + place * part}  # what earlier tries left over is there too
        make = functools.partial(run, output=folder, goal=targets.goal, time_limit=part, **since)
        outcome = targets.outcome(_once(folder, make))
        found.append(replace(outcome, verdicts=outcome.verdicts[-1:]))  # the latency was ours, not the user's
        if found[-1].met:
            held = factor
        else:
            failed = factor
        if failed / held < _CLOSE:
            break
        factor = 2 * held if failed == math.inf else math.sqrt(held * failed)
    best = _best(found)

    def finish() -> None:
        with staged_output(output, overwrite=overwrite, kind=CHECKPOINT, work=Work(tries, _TRIES_NAMES)) as aside:
            shutil.copytree(best.result.path, aside, dirs_exist_ok=True)

    processes.on_main(finish)
    return replace(best, result=replace(best.result, path=output))


def _best(outcomes: list[Outcome]) -> Outcome:
    """The last that held, since each that is tried after one that held is faster; else the one that loses least."""
    held = [outcome for outcome in outcomes if outcome.met]
    return held[-1] if held else min(outcomes, key=lambda outcome: outcome.verdicts[-1].got)


def _once(folder: Path, make: Callable[[], CompressResult]) -> CompressResult:
    """What was made in the folder, now or before."""
    note = folder.with_name(folder.name + ".json")
    if not processes.on_main(lambda: folder.is_dir() and note.is_file()):
        result = make()
        kept: dict[str, Any] = {"original": result.original, "parameters": result.parameters, "size_mb": result.size_mb}
        processes.on_main(lambda: note.write_text(json.dumps(kept), encoding="utf-8"))
        return result
    return CompressResult(
        path=folder, record=open_checkpoint(folder).record, **json.loads(note.read_text(encoding="utf-8"))
    )
