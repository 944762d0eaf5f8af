"""What subjects draw: power while each answers alone, beside that of the idle machine; only where a sensor can be read."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgelm.profile.inputs import Feeds
from edgelm.profile.place import Line, Place
from edgelm.profile.turns import REST_S, Worker
from edgelm.progress import Progress

_SECONDS = 1.0  # of the idle machine, and of each subject: fifty readings
_CALLS = (20, 20_000)


@dataclass(frozen=True)
class Power:
    """Power of the machine, or of the part of it that its sensors see, while one subject answers without a pause.

    Attributes:
        source: of the figures: INA3221, tegrastats, RAPL, NVML.
        idle_w: before, while nothing was asked; other work on the machine is in it, and in `busy_w`.
        busy_w: the mean over all calls.
        mj_per_call: energy of a call in 10^-3 J, all that is drawn meanwhile.
        rails: mean power by rail while busy, in W; parts of others among them.
        samples: readings while busy.
    """

    source: str
    idle_w: float
    busy_w: float
    mj_per_call: float
    calls: int
    seconds: float
    samples: int
    rails: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def measure_power(
    place: Place, workers: Sequence[Worker], feeds: Sequence[list[Feeds]], call_ms: Sequence[float], progress: Progress
) -> list[Power | None]:
    """One for each worker; None where no sensor can be read.

    Args:
        feeds: the inputs of each, in turn.
        call_ms: how long a call of each takes, to know how many fill the time.
    """
    line = place.start("edgelm.profile.watcher")
    try:
        source = _ask(line, "sensors").get("source")
        if not source:
            return [None for _ in workers]
        for worker, inputs in zip(workers, feeds, strict=True):
            worker.ask("prepare", feeds=inputs)
        time.sleep(REST_S)
        _ask(line, "start")
        time.sleep(_SECONDS)
        idle = _ask(line, "stop")
        found: list[Power | None] = []
        for number, (worker, each) in enumerate(zip(workers, call_ms, strict=True)):
            calls = min(max(math.ceil(_SECONDS * 1000 / each), _CALLS[0]), _CALLS[1])
            time.sleep(REST_S)
            _ask(line, "start")
            worker.ask("block", count=calls, skip=0)
            busy = _ask(line, "stop")
            found.append(_power(source, idle, busy, calls))
            progress("power", number + 1, len(workers))
        return found
    finally:
        line.close()


def _power(source: str, idle: dict[str, Any], busy: dict[str, Any], calls: int) -> Power | None:
    if not busy.get("rails") or busy["rails"].keys() != idle["rails"].keys():
        return None  # a sensor came or went: nothing to compare
    energy = busy["mean_w"] * busy["seconds"]
    return Power(source, idle["mean_w"], busy["mean_w"], 1000 * energy / calls, calls, busy["seconds"], busy["samples"], busy["rails"])


def _ask(line: Line, what: str) -> dict[str, Any]:
    answer = line.exchange(json.dumps({"do": what}))
    return json.loads(answer) if answer else {}
