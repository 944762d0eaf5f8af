"""Lengths of time as people write them."""

from __future__ import annotations

import math
import re

from edgelm.errors import UsageError

# From long to short, as the parts of one length of time stand.
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
_MILLISECONDS = {"s": 1e3, "ms": 1.0, "us": 1e-3}
_SPELLINGS = {"d": "d", "h": "h", "m": "m(?:in)?", "s": "s(?:ec)?", "ms": "ms", "us": "[uµμ]s"}
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"


def parse_seconds(text: str, option: str = "--time-limit") -> float:
    """Seconds of a length of time: `90s`, `45m`, `1h30m`, `1.5h`, `2d`, `500ms`, or seconds as a plain number.

    Raises:
        UsageError: it is none, or no time at all.
    """
    seconds = _parse(text, _SECONDS)
    if seconds is None or not 0 < seconds < math.inf:
        raise UsageError(
            f"{option} is {text!r}; expected a length of time.",
            hint=f"For instance: {option} 45m, 1h30m, 90s, or seconds.",
        )
    return seconds


def parse_milliseconds(text: str, option: str = "--max-latency") -> float:
    """Milliseconds of a short length of time: `1ms`, `800us`, `0.5s`, or milliseconds as a plain number.

    Minutes and longer are none: who types `1m` here means milliseconds.

    Raises:
        UsageError: it is none.
    """
    milliseconds = _parse(text, _MILLISECONDS)
    if milliseconds is None or not math.isfinite(milliseconds):
        raise UsageError(
            f"{option} is {text!r}; expected a length of time.",
            hint=f"For instance: {option} 1ms, 800us, 0.5s, or milliseconds.",
        )
    return milliseconds


def _parse(text: str, units: dict[str, float]) -> float | None:
    """The sum of the parts; a plain number as it is; None where the text is no length of time in these units."""
    text = text.strip().lower()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    parts = re.fullmatch("".join(rf"(?:{_NUMBER}\s*{_SPELLINGS[unit]}\s*)?" for unit in units), text)
    if parts is None or not text:
        return None
    return sum(float(value) * size for value, size in zip(parts.groups(), units.values(), strict=True) if value)
