"""The noun Budget: what a model may cost on its device, and what it may lose."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from edgelm.errors import UsageError

_FACTORS = {"x": 1.0, "×": 1.0}
_BYTES = {"mb": 1.0, "kb": 1e-3, "gb": 1e3, "mib": 1.048576, "kib": 1.024e-3, "gib": 1073.741824}
_BOUNDS = (
    dict.fromkeys(_FACTORS, "speedup")
    | dict.fromkeys(("us", "µs", "ms", "s"), "max-latency")
    | dict.fromkeys(_BYTES, "max-size")
    | dict.fromkeys(("point", "points", "pt", "pts"), "max-drop")
)


@dataclass(frozen=True)
class Budget:
    """Bounds, each None where there is none.

    Attributes:
        max_latency_ms: p50 of one text at batch 1, of the median length of the data, in the export precision; of a
            model that writes, of one token behind a context.
        speedup: how many times as fast as the original in PyTorch eager FP32 on the same machine; of a model that
            writes, as a token of its own uncut bundle.
        max_first_token_ms: of a model that writes: from a prompt to its first token.
        max_size_mb: of the bundle, 10^6 bytes.
        max_memory_mb: peak of a process that runs the bundle, 10^6 bytes.
        max_drop: points (hundredths) of the task's metric on the evaluation rows; of perplexity, percent that it rises.

    Raises:
        UsageError: a bound that nothing can meet.
    """

    max_latency_ms: float | None = None
    speedup: float | None = None
    max_size_mb: float | None = None
    max_memory_mb: float | None = None
    max_drop: float | None = None
    max_first_token_ms: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not (value > 0 if name != "max_drop" else value >= 0):  # NaN neither
                option = "--" + name.removesuffix("_ms").removesuffix("_mb").replace("_", "-")
                raise UsageError(
                    f"{option} {value:g} cannot be met by anything.", hint=f"Give {option} a larger number."
                )

    def __bool__(self) -> bool:
        return any(value is not None for value in asdict(self).values())

    @property
    def limits_time(self) -> bool:
        """Whether latency is bounded."""
        return any(bound is not None for bound in (self.max_latency_ms, self.speedup, self.max_first_token_ms))

    @property
    def only_drop(self) -> bool:
        """Whether nothing but the loss is bounded."""
        return list(self.to_dict()) == ["max_drop"]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what is not bounded."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def parse_megabytes(text: str, option: str) -> float:
    """`10MB`, `900kB`, `1GiB`; a bare number is in 10^6 bytes."""
    return _parse(text, _BYTES, option, "10MB")


def parse_factor(text: str) -> float:
    """`10x` or `10`."""
    return _parse(text, _FACTORS, "--speedup", "10x")


def parse_bounds(text: str) -> dict[str, str]:
    """Bounds in one line, told apart by their units: `5x, 10ms, 50MB, 1 point` -> values of `--speedup`,
    `--max-latency`, `--max-size` and `--max-drop`, by their names without hyphens in front.

    Raises:
        UsageError: a part that is none of these, or two of one kind.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in re.split(r"[,;]|\band\b", text))):
        number, unit = _amount(re.sub(r"^(under|below|at most)\b|\b(worse|lost|as fast|faster)$", "", part.lower()))
        if number is None or unit not in _BOUNDS:
            raise UsageError(
                f"{part!r} is no bound of a budget.",
                hint="Bounds are times as fast, a time, a size, points that may be lost: 5x, 10ms, 50MB, 1 point.",
            )
        name = _BOUNDS[unit]
        if name in found:
            raise UsageError(f"there are two bounds of {name.replace('-', ' ')}.", hint="Give one of them.")
        found[name] = number if name == "max-drop" else f"{number}{unit}"
    return found


def _amount(text: str) -> tuple[str | None, str]:
    """A number and its unit, in small letters; None: it begins with no number."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zµ×]*)\s*", text.lower())
    return (None, "") if found is None else (found[1], found[2])


def _parse(text: str, units: dict[str, float], option: str, example: str) -> float:
    number, unit = _amount(text)
    if number is None or (unit and unit not in units):
        raise UsageError(f"{option} {text!r} cannot be read as an amount.", hint=f"Give it like {option} {example}.")
    return float(number) * (units[unit] if unit else 1.0)
