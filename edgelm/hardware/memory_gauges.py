"""How much of a machine's memory is in use, by what its system shows. Runs on the device: the standard library alone.

/proc/meminfo  of the system, on Linux: MemTotal - MemAvailable, which is what its programs and the kernel hold and
could not be given to another
               without swapping. Files that are kept in memory because they were read, mapped weights too, are not in
               it. A Jetson's GPU has no memory but this.
NVML           of each GPU on a card, for all that use it, if pynvml can be imported
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.hardware.power_sensors import open_nvml


@dataclass(frozen=True)
class Gauge:
    """One memory whose use is read; all figures in 10^6 bytes.

    Attributes:
        name: system, or gpu-0 and so on.
        total_mb: all of it.
        read: what is in use now.
    """

    source: str
    name: str
    total_mb: float
    read: Callable[[], float]


def find_gauges(root: Path = Path("/")) -> list[Gauge]:
    """Every memory whose use this process may read, under `root`; none is no error."""
    return [*_meminfo(root), *_nvml()]


def _meminfo(root: Path) -> Iterator[Gauge]:
    file = root / "proc/meminfo"
    try:
        total, _ = _kilobytes(file)
    except (
        OSError,
        ValueError,
        KeyError,
    ):  # another system, or a Linux before 3.14, which says nothing of what is available
        return

    def used() -> float:
        whole, available = _kilobytes(file)
        return (whole - available) * 1024 / 1e6

    yield Gauge("/proc/meminfo", "system", total * 1024 / 1e6, used)


def _kilobytes(file: Path) -> tuple[int, int]:
    """Total and available; the file's kB are of 1024 bytes."""
    found = dict(line.split(":", 1) for line in file.read_text().splitlines() if line.startswith("Mem"))
    return int(found["MemTotal"].split()[0]), int(found["MemAvailable"].split()[0])


def _nvml() -> Iterator[Gauge]:
    pynvml, handles = open_nvml()
    for index, handle in enumerate(handles):
        try:
            total = pynvml.nvmlDeviceGetMemoryInfo(handle).total
        except pynvml.NVMLError:  # a Jetson's driver: the system's memory is the GPU's
            continue
        if total:
            yield Gauge("NVML", f"gpu-{index}", total / 1e6, _used(pynvml, handle))


def _used(pynvml: Any, handle: Any) -> Callable[[], float]:
    return lambda: float(pynvml.nvmlDeviceGetMemoryInfo(handle).used) / 1e6
