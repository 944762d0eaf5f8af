"""Cosines and sines of rotary positions, computed by the model's own module: whatever scaling it has is in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from edgelm.errors import ModelError
from edgelm.export.generation.modules import to_array

_MOVING = ("dynamic", "longrope")  # their frequencies depend on how long the text has become


def rotary_tables(module: nn.Module, config: Any, layer_type: str, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of all positions, (positions, rotated channels / 2) float32 each.

    Args:
        module: transformers' rotary module of the model.
        layer_type: such as sliding_attention, where each type of layer has frequencies of its own; else empty.

    Raises:
        ModelError: a position's rotation changes with the length of the text.
    """
    settings = config.rope_parameters
    own = settings[layer_type] if layer_type else settings
    kind = own.get("rope_type", "default")
    if kind in _MOVING:
        raise ModelError(
            f"rotary positions of type {kind!r} change with the length of the text, and a graph has fixed ones.",
            hint="Set rope_scaling in config.json to a fixed type such as linear, llama3 or yarn.",
        )
    like, ids = torch.zeros(1), torch.arange(positions)[None]
    with torch.no_grad():
        cosines, sines = module(like, ids, layer_type) if layer_type else module(like, ids)
    half = cosines.shape[-1] // 2  # the module gives each channel pair's angle twice
    return to_array(cosines[0, :, :half]), to_array(sines[0, :, :half])
