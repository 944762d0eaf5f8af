"""One subject alone on the machine, loaded and answering without a pause: what that draws and what it takes, where that
can be read."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.profile.host import Channel, Host
from edgelm.profile.inputs import Feeds
from edgelm.profile.interleave import REST_S, WorkerClient
from edgelm.profile.memory import Memory, memory_use
from edgelm.profile.power import Power, power_use
from edgelm.profile.subject import Subject
from edgelm.progress import Progress

# Seconds of the idle machine and of each subject, and calls at least: fifty readings of power, fifteen of memory, which
# moves less.
_POWER, _MEMORY = (1.0, 20), (0.3, 3)
_MOST_CALLS = 20_000


@dataclass(frozen=True)
class Use:
    """What a subject, alone, uses: power, None where no sensor can be read, and the memories whose use can be."""

    power: Power | None = None
    memory: tuple[Memory, ...] = ()


def measure_use(
    place: Host,
    subjects: Sequence[Subject],
    threads: int,
    feeds: Sequence[list[Feeds]],
    call_ms: Sequence[float],
    progress: Progress,
) -> list[Use]:
    """One for each subject, in turn, in a fresh process of its own; nothing else of this profile is loaded meanwhile.

    Args:
        feeds: the inputs of each.
        call_ms: how long a call of each takes, to know how many fill the time.
    """
    line = place.start("edgelm.profile.monitor")
    try:
        sensors = _ask(line, "sensors")
        if not sensors.get("source") and not sensors.get("memory"):
            return [Use() for _ in subjects]
        found = []
        for number, (subject, inputs, each) in enumerate(zip(subjects, feeds, call_ms, strict=True)):
            progress("power and memory", number, len(subjects))
            found.append(_measure(place, line, sensors, subject, threads, inputs, each))
        progress("power and memory", len(subjects), len(subjects))
        return found
    finally:
        line.close()


def _measure(
    place: Host,
    line: Channel,
    sensors: dict[str, Any],
    subject: Subject,
    threads: int,
    inputs: list[Feeds],
    call_ms: float,
) -> Use:
    seconds, fewest = _POWER if sensors["source"] else _MEMORY
    calls = min(max(math.ceil(seconds * 1000 / call_ms), fewest), _MOST_CALLS)
    time.sleep(REST_S)
    _ask(line, "start")
    time.sleep(seconds)
    idle = _ask(line, "stop")
    _ask(line, "start")
    worker = WorkerClient(subject, threads=threads, place=place)
    try:
        worker.ask("prepare", feeds=inputs)
        loading = _ask(line, "stop")
        time.sleep(REST_S)
        _ask(line, "start")
        worker.ask("block", count=calls, skip=0)
        busy = _ask(line, "stop")
    finally:
        worker.close()
    power = power_use(sensors["source"], idle, busy, calls, provider=worker.chosen.get("provider"))
    return Use(power, memory_use(sensors["memory"], idle, loading, busy))


def _ask(line: Channel, what: str) -> dict[str, Any]:
    answer = line.exchange(json.dumps({"do": what}))
    return json.loads(answer) if answer else {}
