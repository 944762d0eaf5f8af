"""How much each matrix's rounding raises a generator's loss, from one pass of gradients over a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgelm.anatomy.hooks import watching
from edgelm.anatomy.matrices import linear_modules


def loss_increases(
    model: PreTrainedModel, batches: Sequence[Mapping[str, Tensor]], wrong: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """The rise of the loss, in nats a token, if one matrix alone is wrong by what is given.

    To second order a model's distribution moves by half of what Fisher's information weighs the change with: the mean
    of (g · Δy)² / 2 over tokens, where Δy is what the change does to a module's output and g the gradient of the loss
    there, with next tokens drawn from the model's own distribution. All matrices are judged by the same gradients.
    Source: Martens, "New Insights and Perspectives on the Natural Gradient Method" (2020), sections 5 and 8; tokens are
    taken as independent.

    Args:
        model: in evaluation mode, in FP32.
        batches: arguments of the model, of real texts without padding.
        wrong: changes of weights, (in, out), by the module's name.
    """
    modules = linear_modules(model)
    changes = {name: torch.from_numpy(change) for name, change in wrong.items()}
    sums = dict.fromkeys(wrong, 0.0)
    tokens = 0

    moved: dict[str, Tensor] = {}

    def read(name: str, given: Tensor) -> None:
        moved[name] = given.detach() @ changes[name]

    def give(name: str, output: Tensor) -> None:
        change = moved.pop(name)

        def add(gradient: Tensor) -> None:
            sums[name] += float(((gradient * change).sum(dim=-1) ** 2).sum()) / 2

        output.register_hook(add)

    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    words = model.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    try:
        for parameter, _ in asked:
            parameter.requires_grad_(parameter is words)  # gradients of activations alone are needed
        inputs = [(modules[name], partial(read, name)) for name in wrong]
        outputs = [(modules[name], partial(give, name)) for name in wrong]
        with torch.enable_grad(), watching(inputs=inputs, outputs=outputs):
            for batch in batches:
                logits = model(**batch).logits.flatten(0, 1)
                drawn = torch.multinomial(logits.detach().softmax(dim=-1), 1, generator=generator)[:, 0]
                loss = nn.functional.cross_entropy(logits, drawn, reduction="sum")
                torch.autograd.grad(loss, words)
                tokens += len(drawn)
    finally:
        for parameter, before in asked:
            parameter.requires_grad_(before)
    return {name: total / tokens for name, total in sums.items()}
