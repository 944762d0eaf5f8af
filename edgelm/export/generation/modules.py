"""Weights of PyTorch modules as arrays."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

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
