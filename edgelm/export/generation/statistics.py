"""What the inputs of a model's matrices are like on real text: the second moments that rounding to few bits looks
at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from edgelm.anatomy.hooks import watching
from edgelm.anatomy.layers import base_model
from edgelm.anatomy.matrices import linear_modules
from edgelm.errors import CalibrationError


@torch.inference_mode()
def collect_moments(
    model: PreTrainedModel, batches: Iterable[Mapping[str, Tensor]], names: Collection[str]
) -> dict[str, np.ndarray]:
    """The mean of x xᵀ over the inputs x of linear modules, (in, in) float32 by name.

    Modules that read the same activation, such as query, key and value, share one array.

    Args:
        model: in evaluation mode.
        batches: arguments of the model, of texts without padding, for padding would count as text.
        names: of modules in its layers.

    Raises:
        CalibrationError: there are no batches, or a module gets an input that is not finite.
    """
    modules, layers = linear_modules(model), base_model(model)  # without the head, most of the work of a small model
    sums: dict[str, Tensor] = {}
    tokens: dict[str, int] = {}
    last: tuple[Tensor, str] | None = None

    def add(name: str, given: Tensor) -> None:
        nonlocal last
        if last is not None and last[0] is given:
            sums[name] = sums[last[1]]
            return
        last = given, name
        rows = given.reshape(-1, given.shape[-1]).float()
        if name not in sums:
            sums[name] = torch.zeros(rows.shape[1], rows.shape[1])
        sums[name] += rows.T @ rows
        tokens[name] = tokens.get(name, 0) + len(rows)

    with watching(inputs=[(modules[name], partial(add, name)) for name in names]):
        for batch in batches:
            last = None
            layers(**batch, use_cache=False)
    if not sums:
        raise CalibrationError("no texts to learn the inputs of matrices from.")
    made = {id(total): total.div_(tokens[name]).numpy() for name, total in sums.items() if name in tokens}
    for name, total in sums.items():
        if not np.isfinite(np.diagonal(made[id(total)])).all():
            raise CalibrationError(f"{name}: an input is not finite on the texts that it was calibrated on.")
    return {name: made[id(total)] for name, total in sums.items()}
