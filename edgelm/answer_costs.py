"""What answers cost in money and energy, reckoned from how long one takes and figures of the machine that a user
gives."""

from __future__ import annotations

DAYS = 365  # of a year
JOULES_PER_KWH = 3.6e6
_HOUR_MS = 3_600_000


def per_million(answer_ms: float, price_per_hour: float) -> float:
    """The price of a million answers, one after the other, each of so many milliseconds."""
    return answer_ms * 1e6 / _HOUR_MS * price_per_hour


def answer_joules(answer_ms: float, watts: float) -> float:
    """The energy of an answer of so many milliseconds."""
    return answer_ms / 1000 * watts
