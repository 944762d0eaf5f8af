"""What a machine's memory takes while one subject is loaded and answers, beside what was in use before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Memory:
    """Use of one memory of the machine, all of it and not this subject's process alone; in 10^6 bytes.

    What else runs on the machine is in every figure, and what it takes or gives back meanwhile in the rise. The
    system's memory is what could not be given to another program: weights that are mapped from a file are not in it,
    though they are in the process's own peak; buffers that a driver keeps for the GPU of a Jetson are in it, though the
    process does not show them. See `edgelm.hardware.memory_gauges`.

    Attributes:
        source: of the figures: /proc/meminfo or NVML.
        name: system, or gpu-0 and so on: the memory of a GPU on a card.
        total_mb: all that there is.
        idle_mb: in use before the subject was loaded; median.
        busy_mb: in use while it answers, alone; median.
        peak_mb: the most that was read from the beginning of its loading on.
        rise_mb: busy_mb - idle_mb; below 0 where others gave back more than it took.
    """

    source: str
    name: str
    total_mb: float
    idle_mb: float
    busy_mb: float
    peak_mb: float
    rise_mb: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def memory_use(
    gauges: Sequence[dict[str, Any]], idle: dict[str, Any], loading: dict[str, Any], busy: dict[str, Any]
) -> tuple[Memory, ...]:
    """One for each gauge that was read all along.

    Args:
        gauges: source, name and total_mb of each.
        idle, loading, busy: what a watch of each time says.
    """
    found = []
    for gauge in gauges:
        times = [watch.get("memory", {}).get(gauge["name"]) for watch in (idle, loading, busy)]
        if all(times):
            before, meanwhile, after = times
            middles = (before["median_mb"], after["median_mb"])
            peak = max(meanwhile["peak_mb"], after["peak_mb"])
            found.append(
                Memory(gauge["source"], gauge["name"], gauge["total_mb"], *middles, peak, middles[1] - middles[0])
            )
    return tuple(found)
