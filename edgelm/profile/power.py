"""What a machine draws while one subject answers alone, beside what it draws when idle; only where a sensor can be
read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Power:
    """Power of the machine, or of the part of it that its sensors see, while one subject answers without a pause.

    Attributes:
        source: of the figures: INA3221, tegrastats, RAPL, NVML.
        idle_w: before the subject was loaded; other work on the machine is in it, and in `busy_w`.
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


_CARDS, _ON_CARDS = "NVML", ("cuda", "tensorrt", "tensorrt-rtx")  # a sensor of cards alone; providers that use them


def power_use(
    source: str, idle: dict[str, Any], busy: dict[str, Any], calls: int, *, provider: str | None
) -> Power | None:
    """From a watch of the idle machine and one of so many calls; None without a sensor that was read all along in both,
    or where none but cards were looked at and the provider that ran the subject uses none: they idled."""
    if source == _CARDS and provider not in _ON_CARDS:
        return None
    if not busy.get("rails") or busy["rails"].keys() != idle["rails"].keys():
        return None  # a sensor came or went: nothing to compare
    energy = busy["mean_w"] * busy["seconds"]
    return Power(
        source,
        idle["mean_w"],
        busy["mean_w"],
        1000 * energy / calls,
        calls,
        busy["seconds"],
        busy["samples"],
        busy["rails"],
    )
