"""What answers of a search's trials cost, calculated from their latencies and figures of the machine that the user
gives: another view of the latency axis, marked as estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgelm.answer_costs import DAYS, JOULES_PER_KWH, answer_joules, per_million


@dataclass(frozen=True)
class Prices:
    """Figures of the machine that a search measures on.

    Attributes:
        per_hour: price of the machine, in any currency; None: it is not told.
        watts: power of the machine while it answers; None: it is not told.
        calls_per_day: answers that are needed; None: it is not told.
    """

    per_hour: float | None = None
    watts: float | None = None
    calls_per_day: float | None = None

    def of(self, latency_ms: float) -> dict[str, float]:
        """By name: the price of a million answers, one after the other, and of those of a year; joules of an answer,
        and kilowatt-hours of a year. Only what the figures tell."""
        found: dict[str, float] = {}
        if self.per_hour is not None:
            found["per_million"] = per_million(latency_ms, self.per_hour)
        if self.watts is not None:
            found["joules"] = answer_joules(latency_ms, self.watts)
        if self.calls_per_day is not None:
            a_year = self.calls_per_day * DAYS
            if "per_million" in found:
                found["a_year"] = found["per_million"] / 1e6 * a_year
            if "joules" in found:
                found["kwh_a_year"] = found["joules"] / JOULES_PER_KWH * a_year
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"price_per_hour": self.per_hour, "watts": self.watts, "calls_per_day": self.calls_per_day}
