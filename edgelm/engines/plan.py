"""The plan of an engine: its optimization profiles, by the lengths of the user's texts, and the memory of its
device."""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.device import Device
from edgelm.runtime.engine_plan import EnginePlan, ShapeRange

_STEP = 8  # tokens: kernels work in tiles, so lengths between two steps cost what the longer one costs
_SHORT = 0.9  # share of the texts that the first profile is for
_SHARE = 0.25  # of the device's memory that one operator may take
_LARGEST, _USUAL = 4096, 1024  # 10^6 bytes


def make_plan(
    device: Device,
    lengths: Sequence[int],
    *,
    max_length: int,
    batch: int = 1,
    portable: bool = False,
    strip: bool = False,
) -> EnginePlan:
    """A plan for a device.

    TensorRT chooses kernels that are fast at one shape of a profile and work at all others. So texts of usual length
    have a profile of their own, tuned for the median, and longer ones another.

    Args:
        lengths: of the user's texts in tokens.
        max_length: tokens of the longest text.
        batch: texts that are answered at once, at most.
    """
    ordered = sorted(min(length, max_length) for length in lengths) or [max_length]
    short, median, long = (_up(_quantile(ordered, share), max_length) for share in (_SHORT, 0.5, 0.99))
    profiles = [_profile(batch, median, short)]
    if short < max_length:
        profiles.append(_profile(batch, max(long, short), max_length))
    return EnginePlan(tuple(profiles), workspace_of(device), device.compute_capability, portable=portable, strip=strip)


def workspace_of(device: Device) -> int:
    """Memory of a device's GPU that one operator may use, 10^6 bytes."""
    return _USUAL if device.memory_gb is None else min(_LARGEST, int(1000 * device.memory_gb * _SHARE))


def _profile(batch: int, usual: int, most: int) -> ShapeRange:
    """Of up to so many texts, fastest for that many, and of any length up to `most` tokens."""
    return ShapeRange({"batch": (1, batch, batch), "sequence": (1, usual, most)})


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _up(length: int, most: int) -> int:
    """To the next step, within what the model reads."""
    return min(most, -(-length // _STEP) * _STEP)
