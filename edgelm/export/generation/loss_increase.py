"""How much each matrix's rounding raises a generator's loss, from one pass of gradients over a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from edgelm.anatomy.hooks import watching
from edgelm.anatomy.matrices import linear_modules
from edgelm.anatomy.token_head import read_states, token_head
from edgelm.compress.distillation.chunked_rows import chunked_sum
from edgelm.data.written import DECODED


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
    begins: list[Tensor] = []

    def begin(output: Tensor) -> Tensor:
        begins.append(output.detach().requires_grad_())
        return begins[-1]

    tables = [(module, begin) for module in model.modules() if isinstance(module, nn.Embedding)]
    generator = torch.Generator().manual_seed(0)

    def losses(logits: Tensor, _: slice) -> Tensor:
        drawn = torch.multinomial(logits.detach().softmax(dim=-1), 1, generator=generator)[:, 0]
        return functional.cross_entropy(logits, drawn, reduction="none")

    try:
        for parameter, _ in asked:
            parameter.requires_grad_(False)  # gradients of activations alone are needed
        inputs = [(modules[name], partial(read, name)) for name in wrong]
        outputs = [(modules[name], partial(give, name)) for name in wrong]
        with torch.enable_grad(), watching(inputs=inputs, outputs=[*tables, *outputs]):
            for batch in batches:
                counted = torch.ones_like(batch.get(DECODED, batch["input_ids"]))
                states, _ = read_states(model, batch, counted)
                weights = torch.ones(len(states))
                torch.autograd.grad(chunked_sum(states, token_head(model), losses, weights), begins, allow_unused=True)
                begins.clear()
                tokens += len(states)
    finally:
        for parameter, before in asked:
            parameter.requires_grad_(before)
    return {name: total / tokens for name, total in sums.items()}
