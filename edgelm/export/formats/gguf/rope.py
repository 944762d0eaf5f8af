"""Rotary positions in GGUF's words: the base, and the kinds of scaling that llama.cpp computes as transformers does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelm.errors import ModelError

Entries = dict[str, Any]
_YARN_BETAS = {
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}  # what llama.cpp takes for these architectures, whatever the file says


def rope_entries(parameters: dict[str, Any], *, kinds: Sequence[str], where: str) -> Entries:
    """Keys of the file, without the architecture's name before them.

    Args:
        parameters: `rope_parameters` of a configuration, of one kind of layer.
        kinds: the kinds of scaling that the architecture has.
        where: what to call the model in messages.

    Raises:
        ModelError: a kind of scaling, or a setting of it, that llama.cpp does not compute.
    """
    kind = parameters.get("rope_type", "default")
    if kind not in kinds:
        raise ModelError(
            f"{where}: rotary positions of the kind {kind!r} have no place in a GGUF file; it has {', '.join(kinds)}."
        )
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError(f"{where}: llama.cpp turns whole heads; these turn a part (partial_rotary_factor).")
    entries: Entries = {"rope.freq_base": float(parameters["rope_theta"])}
    if kind == "linear":
        entries |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(parameters["factor"])}
    elif kind == "yarn":
        entries |= _yarn(parameters, where)
    return entries


def _yarn(parameters: dict[str, Any], where: str) -> Entries:
    """YaRN (Peng et al., 2023, https://arxiv.org/abs/2309.00071)."""
    betas = {name: float(parameters.get(name) or usual) for name, usual in _YARN_BETAS.items()}
    untold = [name for name in ("mscale", "mscale_all_dim") if parameters.get(name)]
    if betas != _YARN_BETAS or untold or parameters.get("truncate", True) is not True:
        raise ModelError(
            f"{where}: llama.cpp computes YaRN with beta_fast 32 and beta_slow 1, truncated and without mscale."
        )
    factor = float(parameters["factor"])
    entries: Entries = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": int(parameters["original_max_position_embeddings"]),
    }
    if (told := parameters.get("attention_factor")) is not None:
        entries["rope.scaling.attn_factor"] = float(told) / (0.1 * math.log(factor) + 1.0)  # beside the usual one
    return entries


def rope_divisors(parameters: dict[str, Any], head_size: int) -> np.ndarray | None:
    """What each frequency of Llama 3's scaling is divided by, float32 (head_size / 2); None: another kind.

    Low frequencies are divided by the factor, high ones are left, and those between go from one to the other.
    """
    if parameters.get("rope_type") != "llama3":
        return None
    factor, low, high = (float(parameters[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    length = float(parameters["original_max_position_embeddings"])
    exponents = np.arange(0, head_size, 2, dtype=np.float64) / head_size
    turns = length * float(parameters["rope_theta"]) ** -exponents / (2 * math.pi)  # within the original context
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)
