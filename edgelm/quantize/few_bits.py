"""The matrices of a generator in few bits: how each is rounded, and which keep more bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgelm.errors import CalibrationError, UsageError
from edgelm.quantize.block_descent import descend
from edgelm.quantize.blocks import BLOCK, BlockWeight, round_blocks
from edgelm.quantize.rounding import hessian

METHODS = ("nearest", "weighted", "gptq", "descent")


@dataclass(frozen=True)
class FewBits:
    """Settings of weights in blocks.

    Attributes:
        bits: 4 or 8.
        method: of rounding. nearest: each weight by itself; weighted: the same, with scales chosen for the inputs as
            they are; gptq: errors compensated in the channels that follow, the largest inputs first; descent: what gptq
            gives, improved by coordinate descent.
        block: input channels that share a scale: a power of 2, at least 16.
        zeros: a zero point for each block.
        positive: no scale is negative.
        raised: bits of single matrices, by name.
        head_bits: of tables of tokens and the head, which are rounded to the nearest: they weigh most on the answers.
        largest_rise: of a model's loss, in nats a token: matrices keep 8 bits, the most harmful for their size first,
            until the rise that the others are estimated to bring is no more; None: no matrix does for that.
    """

    bits: int = 4
    method: str = "descent"
    block: int = BLOCK
    zeros: bool = False
    positive: bool = False
    raised: Mapping[str, int] = field(default_factory=dict)
    head_bits: int = 8
    largest_rise: float | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"no method of rounding {self.method!r}.", hint=f"Use one of {', '.join(METHODS)}.")
        wrong = sorted({self.bits, self.head_bits, *self.raised.values()} - {4, 8})
        if wrong:
            raise UsageError(f"weights in blocks have 4 or 8 bits, not {wrong[0]}.")
        if self.block < 16 or self.block & (self.block - 1):
            raise UsageError(f"blocks of {self.block} channels; expected a power of 2 from 16 on.")


# What a precision of a bundle means for a generator. A perplexity 3 % higher is 0.03 nats a token: matrices in 8 bits
# bring 0.001 to 0.002 of these, and the least harmful are chosen by estimates that flatter them somewhat.
DEFAULTS = {"int8-weights": FewBits(bits=8, method="nearest"), "int4": FewBits(largest_rise=0.026)}


def quantize_matrices(
    weights: Mapping[str, np.ndarray],
    settings: FewBits | None = None,
    *,
    moments: Mapping[str, np.ndarray] | None = None,
) -> dict[str, BlockWeight]:
    """Every matrix in blocks of few bits.

    Args:
        weights: (in, out) by name.
        settings: None: the defaults.
        moments: (in, in) mean of x xᵀ over the inputs of a matrix, by its name. A matrix in 8 bits needs none: it is
            rounded to the nearest.

    Raises:
        CalibrationError: the method looks at inputs and a matrix of 4 bits has no moments.
    """
    settings = settings or FewBits()
    known = moments or {}
    made: dict[str, BlockWeight] = {}
    last: tuple[np.ndarray, np.ndarray] | None = None  # matrices of the same input follow each other
    for name, weight in weights.items():
        bits = settings.raised.get(name, settings.bits)
        if bits == 8 or settings.method == "nearest":
            made[name] = round_blocks(
                weight, bits, block=settings.block, zeros=settings.zeros, positive=settings.positive
            )
            continue
        if name not in known:
            raise CalibrationError(
                f"{name}: no second moments of its inputs; {settings.method} needs them.",
                hint="Collect them on texts, or round to the nearest.",
            )
        matrix = None
        if settings.method != "weighted":
            if last is None or last[0] is not known[name]:
                last = (known[name], hessian(known[name], 1))
            matrix = last[1]
        made[name] = round_blocks(
            weight,
            bits,
            matrix,
            block=settings.block,
            zeros=settings.zeros,
            importance=np.diagonal(known[name]),
            act_order=True,
            positive=settings.positive,
        )
        if matrix is not None and settings.method == "descent":
            made[name] = descend(weight, made[name], matrix)
    return made


def most_harmful(rises: Mapping[str, float], sizes: Mapping[str, int], largest: float) -> list[str]:
    """The matrices to keep more bits of: those of the largest rise of the loss for their size, until the others' rises
    sum to no more than `largest`.

    Args:
        rises: of the loss, by matrix, each quantized alone.
        sizes: weights of a matrix.
    """
    left = sum(rises.values())
    chosen = []
    for name in sorted(rises, key=lambda name: rises[name] / sizes[name], reverse=True):
        if left <= largest:
            break
        chosen.append(name)
        left -= rises[name]
    return chosen


def by_name(made: Mapping[str, BlockWeight]) -> Callable[[str, np.ndarray, int], BlockWeight]:
    """What a builder of graphs asks for the integers of a matrix: those that were made; others are rounded to the
    nearest."""

    def quantize(name: str, weight: np.ndarray, bits: int) -> BlockWeight:
        return made[name] if name in made else round_blocks(weight, bits)

    return quantize
