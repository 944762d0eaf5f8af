"""Keys and values in bytes: what one unit of each channel stands for, from real texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from edgelm.errors import CalibrationError

_LARGEST = 127
_LEAST = 1e-6  # of a channel that is zero on all texts


@dataclass(frozen=True)
class CacheScale:
    """What one unit of a layer's cache stands for.

    Attributes:
        key, value: (heads, head size) float32.
    """

    key: np.ndarray
    value: np.ndarray


@torch.inference_mode()
def cache_scales(model: PreTrainedModel, batches: Iterable[Mapping[str, Tensor]]) -> tuple[CacheScale, ...]:
    """One for each layer: the largest key and value of every channel becomes 127.

    Args:
        model: a decoder, in evaluation mode.
        batches: arguments of the model, of texts without padding.

    Raises:
        CalibrationError: no texts, or keys and values that are not finite.
    """
    largest: list[tuple[Tensor, Tensor]] = []
    for batch in batches:
        given = model(**batch, use_cache=True)
        cache: Any = getattr(given, "cache", None) or given.past_key_values  # as older transformers name it
        found = [(_of_channels(layer.keys), _of_channels(layer.values)) for layer in cache.layers]
        if not largest:
            largest = found
        pairs = zip(largest, found, strict=True)
        largest = [(torch.maximum(one[0], two[0]), torch.maximum(one[1], two[1])) for one, two in pairs]
    if not largest:
        raise CalibrationError("no texts to learn the size of keys and values from.", hint="Give longer texts.")
    if not all(bool(part.isfinite().all()) for pair in largest for part in pair):
        raise CalibrationError("keys or values are not finite on the texts.", hint="Look at the model's weights.")
    return tuple(CacheScale(_unit(key), _unit(value)) for key, value in largest)


def _of_channels(values: Tensor) -> Tensor:
    """Largest magnitudes (heads, head size) of (batch, heads, tokens, head size)."""
    return values.float().abs().amax(dim=(0, 2))


def _unit(largest: Tensor) -> np.ndarray:
    return np.maximum(largest.numpy(), _LEAST).astype(np.float32) / np.float32(_LARGEST)
