"""Power sensors of a machine, by what its system shows: Jetson's rails, RAPL, NVIDIA GPUs. Runs on the device: the
standard library alone.

INA3221     /sys/class/hwmon/hwmon*/in*_label, in*_input (mV), curr*_input (mA): Jetson since JetPack 5
            /sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*, in_power*_input (mW): Jetson before
tegrastats  where those may not be read RAPL        /sys/class/powercap/intel-rapl:*/energy_uj: Intel and AMD; since
Linux 5.10 for root alone, unless its rights are changed NVML        GPUs on cards, if pynvml can be imported
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INPUTS = ("VDD_IN", "POM_5V_IN", "VDD_TOTAL")  # a board's whole input; the other rails are parts of it
_FIRST_LINE_S = 3.0


@dataclass(frozen=True)
class Rail:
    """One thing whose power is read.

    Attributes:
        read: watts now or, if it `counts`, joules so far.
        wraps_at: joules after which a counter starts again at 0.
        part: it is contained in another rail, and so not in the sum.
    """

    source: str
    name: str
    read: Callable[[], float]
    counts: bool = False
    wraps_at: float = 0.0
    part: bool = False


def find_rails(root: Path = Path("/")) -> list[Rail]:
    """Every rail that this process may read, under `root`; none is no error."""
    board = list(_hwmon(root)) or list(_iio(root)) or list(_tegrastats())
    whole = any(rail.name in _INPUTS for rail in board)
    rails = [Rail(rail.source, rail.name, rail.read, part=whole and rail.name not in _INPUTS) for rail in board]
    return rails + list(_rapl(root)) + list(_nvml())


def _number(file: Path) -> float:
    return float(file.read_text())


def _readable(file: Path) -> bool:
    try:
        _number(file)
    except (OSError, ValueError):
        return False
    return True


def _hwmon(root: Path) -> Iterator[Rail]:
    for chip in sorted(root.glob("sys/class/hwmon/hwmon*")):
        name = chip / "name"
        if not name.is_file() or name.read_text().strip() != "ina3221":
            continue
        for label in sorted(chip.glob("in[123]_label")):
            volts, amperes = chip / f"in{label.name[2]}_input", chip / f"curr{label.name[2]}_input"
            if _readable(volts) and _readable(amperes):
                yield Rail(
                    "INA3221",
                    label.read_text().strip(),
                    lambda v=volts, a=amperes: _number(v) * _number(a) / 1e6,  # type: ignore[misc]
                )


def _iio(root: Path) -> Iterator[Rail]:
    for label in sorted(root.glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*")):
        power = label.with_name(f"in_power{label.name[-1]}_input")
        if _readable(power):
            yield Rail("INA3221", label.read_text().strip(), lambda file=power: _number(file) / 1e3)  # type: ignore[misc]


def _tegrastats() -> Iterator[Rail]:
    if shutil.which("tegrastats"):
        latest = _Tegrastats()
        for name in list(latest.watts):
            yield Rail("tegrastats", name, lambda name=name: latest.watts[name])  # type: ignore[misc]


class _Tegrastats:
    """The newest figures of a running `tegrastats`, in watts; it ends with this process, whose pipe it writes to."""

    def __init__(self) -> None:
        self.watts: dict[str, float] = {}
        self._first = threading.Event()
        try:
            self._process = subprocess.Popen(
                ["tegrastats", "--interval", "50"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError:
            return
        threading.Thread(target=self._follow, daemon=True).start()
        self._first.wait(_FIRST_LINE_S)
        if not self.watts:
            self._process.kill()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.watts.update(read_tegrastats(line))
            self._first.set()


def read_tegrastats(line: str) -> dict[str, float]:
    """Watts by rail in a line of tegrastats: `VDD_IN 4512mW/4498mW`, now and on average; before JetPack 5 without the
    unit."""
    return {
        name: float(now) / 1e3
        for name, now in re.findall(r"\b((?:VDD|VIN|POM|CPU|GPU|SOC|CV|SYS)\w*) (\d+)(?:mW)?/\d+(?:mW)?(?!\d*MB)", line)
    }


def _rapl(root: Path) -> Iterator[Rail]:
    for domain in sorted(root.glob("sys/class/powercap/intel-rapl:*")):
        counter = domain / "energy_uj"
        if not _readable(counter):
            continue
        name, top = (domain / "name").read_text().strip(), domain.name.count(":") == 1
        full = domain / "max_energy_range_uj"
        wraps_at = _number(full) / 1e6 if _readable(full) else 0.0
        title = name if top else f"{name}-{domain.name.split(':')[1]}"
        # Packages and memory beside them add up; cores and graphics are parts of a package, and psys is the board with
        # all of it.
        whole = (top and name.startswith("package")) or name == "dram"
        yield Rail(
            "RAPL",
            title,
            lambda file=counter: _number(file) / 1e6,  # type: ignore[misc]
            counts=True,
            wraps_at=wraps_at,
            part=not whole,
        )


def open_nvml() -> tuple[Any, list[Any]]:
    """The module pynvml and a handle of each GPU; none where it is not installed, no driver answers, or another package
    has its name."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml, [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except Exception:
        return None, []


def _nvml() -> Iterator[Rail]:
    pynvml, handles = open_nvml()
    for index, handle in enumerate(handles):
        for question, divisor, counts in (
            (pynvml.nvmlDeviceGetTotalEnergyConsumption, 1e3, True),
            (pynvml.nvmlDeviceGetPowerUsage, 1e3, False),
        ):
            try:
                question(handle)
            except pynvml.NVMLError:  # an older GPU counts no energy; a Jetson's driver knows neither
                continue
            yield Rail("NVML", f"gpu-{index}", _ask(question, handle, divisor), counts=counts)
            break


def _ask(question: Callable[[Any], Any], handle: Any, divisor: float) -> Callable[[], float]:
    return lambda: float(question(handle)) / divisor
