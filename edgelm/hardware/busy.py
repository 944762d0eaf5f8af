"""What else a machine does while something is measured on it, by what its system counts.

/proc/stat        Linux: CPU seconds of all processes on the cores that this one may use, and those that a virtual
                  machine's host gave to others
thermal_throttle  how often cores were slowed for heat; with cpufreq, how fast they run, under /sys/devices/system/cpu:
                  few virtual machines show them
load average      elsewhere: processes that wanted a core in the last minute, ours among them

Runs on the device: the standard library alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgelm.hardware.machine import QUIET

LOOK_S = 0.5
_STOLEN = 0.05  # of the cores: more is missed
_SLOWER = 0.8  # times the highest frequency of a run: lower is a drop
_LOADED = 1 / 3  # processes a core, where nothing better is counted: a minute's average has what was just before in it
_MOST_CORES = 64  # whose frequency is read
_RUNNING = (1, 2, 3, 6, 7)  # columns of /proc/stat: user, nice, system, irq, softirq
_STEAL = 8


def read_counters(root: Path = Path("/")) -> dict[str, Any]:
    """What the system has counted so far.

    Returns:
        JSON-ready: `at` (s, of a clock that only rises), `cores` (that this process may use), `load` (None where there
            is no such average),
        `busy_s` and `stolen_s` (CPU seconds on these cores; None where nothing counts them), `slowed` (times that cores
        were slowed for heat).
    """
    mine = _cores()
    busy, stolen = _cpu_seconds(root, mine)
    slowed = sum(
        _integer(root / f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count") or 0 for core in mine
    )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "at": time.monotonic(),
        "cores": len(mine),
        "load": load,
        "busy_s": busy,
        "stolen_s": stolen,
        "slowed": slowed,
    }


def own_seconds() -> float:
    """CPU seconds of this process so far, and of its children that have ended."""
    return sum(os.times()[:4])


def read_mhz(root: Path = Path("/")) -> float | None:
    """The frequency of the fastest core now: a core that computes is among the fastest. None where it is not shown."""
    found = [
        _integer(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq") for core in _cores()[:_MOST_CORES]
    ]
    return max((value / 1000 for value in found if value), default=None)


@dataclass(frozen=True)
class Busy:
    """What a machine did beside a measurement.

    Attributes:
        cores: that the measurement may use; the other figures are of these.
        load: processes that wanted a core, on average over the minute before; None where it is not told.
        before: cores that were in use just before, by others; None where nothing counts that.
        during: cores that others used meanwhile; None where nothing counts that, or nothing was measured.
        stolen: cores' worth of time that the host of a virtual machine gave to others meanwhile.
        slowed: how many times a core was slowed for heat meanwhile.
        mhz: lowest and highest frequency meanwhile, of the fastest core, in each round; None where it is not shown.
    """

    cores: int
    load: float | None
    before: float | None
    during: float | None = None
    stolen: float | None = None
    slowed: int = 0
    mhz: tuple[float, float] | None = None

    @property
    def share(self) -> float:
        """Share of the cores that others used before or during; from the load average where nothing counts it."""
        counted = [value for value in (self.before, self.during) if value is not None]
        if counted:
            return max(counted) / self.cores
        return (self.load or 0.0) / self.cores

    @property
    def others(self) -> str:
        """What others took, in words that follow `measured`: `while others used 1.2 of 2 cores`; empty if that is
        little."""
        if self.before is None and self.during is None:
            return (
                f"under a load of {self.load:.1f} on {self.cores} cores" if self.share > _LOADED and self.load else ""
            )
        return f"while others used {self.share * self.cores:.1f} of {self.cores} cores" if self.share > QUIET else ""

    def warnings(self) -> tuple[str, ...]:
        """A sentence for each thing that makes the figures doubtful."""
        found = []
        if self.others:
            found.append(
                f"Measured {self.others}: on an idle machine the figures may differ. Measure again when it is quiet."
            )
        if self.stolen is not None and self.stolen / self.cores > _STOLEN:
            found.append(
                f"The host of this virtual machine gave {self.stolen:.1f} of its {self.cores} cores to others: "
                "figures change with that."
            )
        if self.slowed:
            found.append("Cores were slowed for heat: let the machine cool down, and measure again.")
        if self.mhz is not None and self.mhz[0] < _SLOWER * self.mhz[1]:
            found.append(f"The CPU's frequency fell from {self.mhz[1]:.0f} to {self.mhz[0]:.0f} MHz between rounds.")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"mhz": None if self.mhz is None else list(self.mhz), "warnings": list(self.warnings())}


def look(seconds: float = LOOK_S) -> Busy:
    """What others do now: this process sleeps meanwhile."""
    first, own = read_counters(), own_seconds()
    time.sleep(seconds)
    return judge([first, read_counters()], [own_seconds() - own])


def judge(counters: Sequence[dict[str, Any]], own_s: Sequence[float], mhz: Sequence[float] = ()) -> Busy:
    """What others did between readings.

    Args:
        counters: read before a look at the idle machine, after it and, where something was measured then, after that.
        own_s: CPU seconds of ours between these.
        mhz: the frequency in each round.
    """
    first, second, last = counters[0], counters[1], counters[-1]
    busy = Busy(int(first["cores"]), first["load"], _used(first, second, own_s[0], "busy_s"))
    if len(counters) < 3:
        return busy
    start, own = (
        (second, own_s[1]) if last["at"] - second["at"] >= LOOK_S else (first, sum(own_s))
    )  # the system counts in 1/100 s
    return Busy(
        busy.cores,
        busy.load,
        busy.before,
        during=_used(start, last, own, "busy_s"),
        stolen=_used(start, last, 0.0, "stolen_s"),
        slowed=int(last["slowed"] - first["slowed"]),
        mhz=(min(mhz), max(mhz)) if mhz else None,
    )


def _used(first: dict[str, Any], last: dict[str, Any], own_s: float, what: str) -> float | None:
    """Cores' worth of time between two readings, without ours."""
    if first[what] is None or last[what] is None or last["at"] <= first["at"]:
        return None
    return round(max(0.0, last[what] - first[what] - own_s) / (last["at"] - first["at"]), 2)


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _cpu_seconds(root: Path, cores: Sequence[int]) -> tuple[float | None, float | None]:
    """Of these cores: seconds in use, and seconds given to other virtual machines; None where nothing is counted."""
    names = {f"cpu{core}" for core in cores}
    try:
        lines = [line.split() for line in (root / "proc/stat").read_text().splitlines() if line.startswith("cpu")]
        rows = [[0, *map(int, line[1:])] for line in lines if line[0] in names]
        if not any(map(any, rows)):
            return None, None
        tick = os.sysconf("SC_CLK_TCK")
        return sum(row[column] for row in rows for column in _RUNNING) / tick, sum(row[_STEAL] for row in rows) / tick
    except (OSError, ValueError, IndexError):
        return None, None


def _integer(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
