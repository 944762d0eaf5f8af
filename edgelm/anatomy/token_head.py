"""The head that turns a generator's last states into logits, apart from the model: so that logits are made of a few
rows at a time, and of those alone that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgelm.anatomy.hooks import watching


@dataclass(frozen=True)
class TokenHead:
    """What gives the logits of a generator.

    Attributes:
        module: the product with the table of all tokens.
        bias: (1, vocabulary) added to it (BART, Marian), or None.
        cap: what logits are squashed below (Gemma 2), or None.
    """

    module: nn.Module
    bias: torch.Tensor | None = None
    cap: float | None = None

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(rows, hidden) states as `read_states` gives them to (rows, vocabulary) logits."""
        logits: torch.Tensor = self.module(states)
        if self.bias is not None:
            logits = logits + self.bias
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    @property
    def weights(self) -> tuple[nn.Parameter, ...]:
        """Its weights that are trained."""
        return tuple(weight for weight in self.module.parameters() if weight.requires_grad)

    @property
    def vocabulary(self) -> int:
        """How many logits a row has."""
        return int(self.module.get_parameter("weight").shape[0])


@dataclass(frozen=True)
class Stack:
    """The hidden states of one stack of layers, the embeddings' output first.

    Attributes:
        states: (batch, tokens, hidden) each.
        mask: (batch, tokens), 1 for tokens that are real.
    """

    states: tuple[torch.Tensor, ...]
    mask: torch.Tensor


def token_head(model: Any) -> TokenHead:
    """The head of a generator, which may be wrapped for several processes."""
    inner = getattr(model, "module", model)
    return TokenHead(
        inner.get_output_embeddings(),
        getattr(inner, "final_logits_bias", None),
        getattr(inner.config, "final_logit_softcapping", None),
    )


def read_states(
    model: Any, inputs: Mapping[str, torch.Tensor], counted: torch.Tensor, *, hidden_states: bool = False
) -> tuple[torch.Tensor, tuple[Stack, ...]]:
    """Run a generator without its head.

    Args:
        inputs: what the model reads.
        counted: (batch, tokens), 1 where its output counts.
        hidden_states: also return those of its stacks: of a decoder, or of an encoder and its decoder.

    Returns:
        (rows, hidden), what the head reads where outputs count; the stacks, or none.
    """
    kept: list[torch.Tensor] = []

    def take(states: torch.Tensor) -> torch.Tensor:
        kept.append(states)
        return states[:, :0]  # nothing is left for the head to do

    head = token_head(model).module
    with watching(inputs=[(head, take)]):
        out = model(**inputs, output_hidden_states=hidden_states, use_cache=False, return_dict=True)
    states = kept[0][counted.bool()]
    if not hidden_states:
        return states, ()
    mask = inputs["attention_mask"]
    if getattr(out, "decoder_hidden_states", None) is None:
        return states, (Stack(tuple(out.hidden_states), mask),)
    return states, (
        Stack(tuple(out.encoder_hidden_states), mask),
        Stack(tuple(out.decoder_hidden_states), counted),
    )
