"""How a graph is quantized, as a user may say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edgelm.choices import CalibrationChoice, RangeMethod, Rounding
from edgelm.errors import UsageError

AUTO = "auto"
ROUNDINGS = get_args(Rounding)
CHOICES = get_args(CalibrationChoice)


@dataclass(frozen=True)
class Quantization:
    """Settings of the integer precisions.

    Attributes:
        method: how ranges are found: a `RangeMethod` for all activations, or `auto`: per activation, by what it costs
            the outputs.
        symmetric: activation ranges as long below zero as above (always so where the runtime needs it).
        per_channel: a scale for each column of a weight; False: one for the matrix.
        rounding: of weights: to the nearest integer, adaptive, or GPTQ; None: GPTQ for int4, for int8 the nearest or,
            with `auto`, adaptive where it brings the outputs closer.
        samples: how many texts to calibrate on.
        choice: which: random, spread over lengths, as many of each label, or the most diverse.
        embedding_bits: of embedding tables in bundles for CPUs, 8 or 4; None: what the checkpoint was compressed for,
            or 8.
        cache_bits: 8: a generator keeps keys and values in bytes; None: in floats.
        max_drop: how many points of the task's metric may be lost; what costs more stays in float. None: no such bound.
        table: a calibration table, read if it is there and written if not.

    Raises:
        UsageError: a name or number that cannot be.
    """

    method: str = AUTO
    symmetric: bool = False
    per_channel: bool = True
    rounding: str | None = None
    samples: int = 256
    choice: str = "random"
    embedding_bits: int | None = None
    cache_bits: int | None = None
    max_drop: float | None = None
    table: Path | None = None

    def __post_init__(self) -> None:
        for what, value, known in (
            ("calibration method", self.method, get_args(RangeMethod)),
            ("rounding", self.rounding, (None, *ROUNDINGS)),
            ("choice of calibration texts", self.choice, CHOICES),
        ):
            if value not in known:
                raise UsageError(f"unknown {what} {value!r}.", hint=f"There are: {', '.join(filter(None, known))}.")
        if self.embedding_bits not in (None, 4, 8):
            raise UsageError(
                f"embeddings cannot be kept in {self.embedding_bits} bits.", hint="Give --embedding-bits 8 or 4."
            )
        if self.cache_bits not in (None, 8):
            raise UsageError(f"a cache cannot be kept in {self.cache_bits} bits.", hint="Give --cache-bits 8.")
        if self.max_drop is not None and self.max_drop < 0:
            raise UsageError(
                f"a largest drop of {self.max_drop} points cannot be.",
                hint="Give --max-drop as points of the metric, such as 0.5.",
            )
