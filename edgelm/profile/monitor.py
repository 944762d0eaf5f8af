"""Watches the machine while a subject runs beside it: `python -m edgelm.profile.monitor`, told what to do by JSON lines
on stdin.

A process of its own, and asleep nine tenths of the time: what it does must not be part of what it measures. The
standard library alone.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from edgelm.hardware.machine import describe_machine
from edgelm.hardware.memory_gauges import Gauge, find_gauges
from edgelm.hardware.power_sensors import Rail, find_rails

INTERVAL_S = 0.02  # of the sensors read here: an INA3221 makes a new value every few ms, RAPL every ms


def main() -> None:
    """Answer commands until stdin closes."""
    watcher = Watcher()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(watcher.answer(json.loads(line)["do"])) + "\n")
        sys.stdout.flush()


class Watcher:
    """What is watched, and the watch that is on."""

    def __init__(
        self, rails: Callable[[], list[Rail]] = find_rails, gauges: Callable[[], list[Gauge]] = find_gauges
    ) -> None:
        self._find_rails, self._find_gauges = rails, gauges
        self._rails: list[Rail] = []
        self._gauges: list[Gauge] = []
        self._watch: Recording | None = None

    def answer(self, what: str) -> dict[str, Any]:
        """`machine`: what it is. `sensors`: the `source` of power, empty if none can be read, and each `memory`.
        `start`, and `stop`: see `Recording`."""
        if what == "machine":
            return describe_machine().to_dict()
        if what == "sensors":
            self._rails, self._gauges = self._find_rails(), self._find_gauges()
            memory = [
                {"source": gauge.source, "name": gauge.name, "total_mb": gauge.total_mb} for gauge in self._gauges
            ]
            return {"source": " + ".join(dict.fromkeys(rail.source for rail in self._rails)), "memory": memory}
        watch, self._watch = self._watch, Recording(self._rails, self._gauges) if what == "start" else None
        return {} if watch is None else watch.stop()


class Recording:
    """Reads rails and gauges again and again, from when it is made until it is stopped."""

    def __init__(self, rails: Sequence[Rail], gauges: Sequence[Gauge] = ()) -> None:
        self._sources: list[Rail | Gauge] = [*rails, *gauges]
        self._values: list[list[float]] = [[] for _ in self._sources]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._start = time.perf_counter()
        self._read()
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Seconds, samples, the mean power in W, of all and by rail, and by memory the median and the largest use in
        10^6 bytes.

        What could not be read all along is left out.
        """
        self._stopping.set()
        self._thread.join()
        self._read()
        seconds = time.perf_counter() - self._start
        samples = max(map(len, self._values), default=0)
        rails: dict[str, float] = {}
        memory: dict[str, dict[str, float]] = {}
        total = 0.0
        for source, values in zip(self._sources, self._values, strict=True):
            if not values or len(values) < samples:
                continue
            if isinstance(source, Gauge):
                memory[source.name] = {"median_mb": statistics.median(values), "peak_mb": max(values)}
            else:
                rails[source.name] = mean_power(source, values, seconds)
                total += 0.0 if source.part else rails[source.name]
        return {"seconds": seconds, "samples": samples, "mean_w": total, "rails": rails, "memory": memory}

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL_S):
            self._read()

    def _read(self) -> None:
        for source, values in zip(self._sources, self._values, strict=True):
            try:
                values.append(source.read())
            except Exception:  # a sensor that goes away is left out, not guessed
                continue


def mean_power(rail: Rail, values: list[float], seconds: float) -> float:
    """In W: what a counter counted over the time, wrapped or not, or the mean of readings."""
    if not rail.counts:
        return sum(values) / len(values)
    steps = [after - before for before, after in itertools.pairwise(values)]
    return sum(step if step >= 0 else step + rail.wraps_at for step in steps) / seconds


if __name__ == "__main__":
    main()
