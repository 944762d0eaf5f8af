"""The table with one row a token, and structural pruning: rows taken out of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.families.table import family_of
from edgelm.anatomy.layers import base_model
from edgelm.errors import ModelError


def word_embeddings(model: PreTrainedModel) -> nn.Embedding:
    """The table of token embeddings, (tokens, width). ELECTRA projects it to the hidden size afterwards; that matrix
    knows no tokens."""
    module = base_model(model).get_submodule(family_of(model.config.model_type).word_embeddings)
    assert isinstance(module, nn.Embedding)
    return module


def fixed_tokens(model: PreTrainedModel) -> set[int]:
    """Ids that a model cannot lose: those that its configuration names and, where positions are counted from the
    padding token's id (RoBERTa), every id below that one, so that it stays what it is."""
    fixed: set[int] = set()

    def note(token: int) -> int:
        fixed.add(token)
        return token

    _renumber(model.config, note)
    family = family_of(model.config.model_type)
    padding = family.padding_of(model.config)
    if family.positions_from_padding and padding is not None:
        fixed |= set(range(padding + 1))
    return fixed


def cut_tokens(model: PreTrainedModel, tokens: Sequence[int]) -> PreTrainedModel:
    """A copy of the model that knows only these tokens: token `tokens[i]` becomes token `i`, and everything else is as
    it was.

    Raises:
        ModelError: a token without an embedding, or one of `fixed_tokens` is not among the tokens.
    """
    table = word_embeddings(model)
    if max(tokens) >= table.num_embeddings:
        raise ModelError(
            f"the tokenizer has a token with id {max(tokens)}, the model only {table.num_embeddings} embeddings.",
            hint="Save the model with the tokenizer that belongs to it.",
        )
    number = {old: new for new, old in enumerate(tokens)}
    family = family_of(model.config.model_type)
    padding = family.padding_of(model.config)
    if padding is not None and (
        padding not in number or (family.positions_from_padding and number[padding] != padding)
    ):
        raise ModelError(
            f"config.json: pad_token_id is {padding}, which is no token of the tokenizer.",
            hint="Set it to the id of the tokenizer's padding token.",
        )
    model = copy.deepcopy(model)
    smaller = nn.Embedding(
        len(tokens),
        table.embedding_dim,
        padding_idx=None if padding is None else number[padding],
        dtype=table.weight.dtype,
    )
    smaller.weight = nn.Parameter(table.weight.detach()[torch.tensor(tokens)].clone())
    parent, _, name = family.word_embeddings.rpartition(".")
    setattr(base_model(model).get_submodule(parent), name, smaller)
    model.config.vocab_size = len(tokens)
    _renumber(model.config, number.get)
    return model


def _renumber(config: Any, number: Callable[[int], int | None]) -> None:
    """Pass every id in a configuration (pad_token_id, eos_token_id, ...) through `number`."""
    for name, value in vars(config).items():
        if not name.endswith("_token_id"):
            continue
        if isinstance(value, int):
            setattr(config, name, number(value))
        elif isinstance(value, (list, tuple)):
            setattr(config, name, [number(token) for token in value])
