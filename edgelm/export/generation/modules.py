"""Weights of PyTorch modules as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from edgelm.anatomy.modeling_edgelm import AbsentOutput
from edgelm.export.generation.builder import Norm
from edgelm.export.generation.products import Product


def to_array(tensor: Tensor) -> np.ndarray:
    """A tensor as float32, on the CPU."""
    result: np.ndarray = tensor.detach().float().cpu().numpy()
    return result


def product_of(name: str, module: nn.Module) -> Product:
    """A linear module: of PyTorch, which keeps (out, in), or transformers' Conv1D, which keeps (in, out)."""
    own = {key: to_array(value) for key, value in module.named_parameters(recurse=False)}
    weight = own["weight"]
    return Product(name, weight.T if isinstance(module, nn.Linear) else weight, own.get("bias"))


def constant_of(module: nn.Module) -> np.ndarray | None:
    """What a sublayer that was removed adds to every token, by its output projection: (hidden,) float32, empty where
    that is nothing; None: the sublayer is there."""
    if not isinstance(module, AbsentOutput):
        return None
    bias = to_array(module.bias)
    return bias if bias.any() else bias[:0]


def norm_of(name: str, module: Any, offset: float = 0.0) -> Norm:
    """A norm: nn.LayerNorm, or a root mean square norm of transformers.

    Args:
        offset: what the family adds to the weight of the latter.
    """
    weight = to_array(module.weight)
    if isinstance(module, nn.LayerNorm):
        bias = np.zeros_like(weight) if module.bias is None else to_array(module.bias)
        return Norm(name, weight, module.eps, bias)
    # transformers' modules keep it under two names
    epsilon = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    return Norm(name, weight + np.float32(offset), float(epsilon))
