"""Calls that are timed one by one, and what the process that makes them takes: the part of a worker that knows no
model."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelm.hardware.busy import own_seconds, read_counters, read_mhz


class TimedCalls:
    """What a worker answers whatever its subject is.

    Attributes:
        call: runs the subject with one feed.
        ready: brings it to where the call begins, which is not timed.
        feeds: of the case at hand; they take turns.
    """

    call: Callable[[Any], Any]
    load_ms: float
    chosen: dict[str, Any]

    def __init__(self) -> None:
        self.feeds: list[Any] = []
        self.next = 0
        self.chosen = {}

    def ready(self, feed: Any) -> None:
        """Nothing is to be done, where a call does not depend on the one before."""

    def block(self, *, count: int, skip: int) -> dict[str, Any]:
        """Time `count` calls, after `skip` that are not counted; inputs in turn. Samples in ms, and the CPU's frequency
        where it is shown."""
        samples = []
        clock = time.perf_counter
        for index in range(-skip, count):
            feed = self.feeds[(self.next + index) % len(self.feeds)]
            self.ready(feed)
            start = clock()
            self.call(feed)
            samples.append((clock() - start) * 1000)
        self.next += count
        return {"samples_ms": samples[skip:], "mhz": read_mhz()}

    def clocks(self) -> dict[str, Any]:
        """What the machine has counted so far, and how much of that is this process."""
        return {"counters": read_counters(), "own_s": own_seconds()}

    def memory(self) -> dict[str, Any]:
        """Largest resident memory of this process so far, 10^6 bytes."""
        status = Path("/proc/self/status")
        if status.is_file():  # getrusage would also count what the parent held before this program was loaded
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return {"peak_mb": int(line.split()[1]) * 1024 / 1e6}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"peak_mb": peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6}


def sum_operators(events: list[dict[str, Any]], runs: int) -> list[dict[str, Any]]:
    """Nodes and time by operator from the events of onnxruntime's profiler over so many calls, the slowest first."""
    nodes: dict[str, set[str]] = {}
    spent: dict[str, float] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            operator = event["args"]["op_name"]
            nodes.setdefault(operator, set()).add(event["name"])
            spent[operator] = spent.get(operator, 0.0) + event["dur"] / 1000
    total = sum(spent.values()) or 1.0
    rows = [
        {"name": name, "nodes": len(nodes[name]), "ms_per_call": ms / runs, "share": ms / total}
        for name, ms in spent.items()
    ]
    return sorted(rows, key=lambda row: -float(str(row["ms_per_call"])))
