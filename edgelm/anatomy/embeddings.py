"""The table with one row a token, and structural pruning: rows taken out of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.families.table import family_of
from edgelm.anatomy.layers import base_model
from edgelm.anatomy.matrices import token_tables
from edgelm.anatomy.token_ids import named_tokens, renumber
from edgelm.anatomy.writer_tables import cut_writer_tables
from edgelm.errors import ModelError
from edgelm.model_folder.generators import generator_types


def word_embeddings(model: PreTrainedModel) -> nn.Embedding:
    """The table of token embeddings, (tokens, width). ELECTRA projects it to the hidden size afterwards; that matrix
    knows no tokens."""
    if _writes(model):
        module = model.get_input_embeddings()
    else:
        module = base_model(model).get_submodule(family_of(model.config.model_type).word_embeddings)
    assert isinstance(module, nn.Embedding)
    return module


def token_weights(model: PreTrainedModel) -> int:
    """How many weights stand in tables with one row a token: embeddings, and of a model that writes its head, counted
    once where it is the same table."""
    tables = token_tables(model).values() if _writes(model) else (word_embeddings(model),)
    return sum(table.get_parameter("weight").numel() for table in tables)


def fixed_tokens(model: PreTrainedModel) -> set[int]:
    """Ids that a model cannot lose: those that its configuration names, or its settings of generation, and, where
    positions are counted from the padding token's id (RoBERTa), every id below that one, so that it stays what it
    is."""
    fixed = named_tokens(model.config)
    if _writes(model):
        return fixed | named_tokens(model.generation_config)
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
    smaller = _smaller_writer(model, tokens, number) if _writes(model) else _smaller_reader(model, tokens, number)
    smaller.config.vocab_size = len(tokens)
    renumber(smaller.config, number.get)
    return smaller


def _smaller_writer(model: PreTrainedModel, tokens: Sequence[int], number: dict[int, int]) -> PreTrainedModel:
    model = copy.deepcopy(model)
    padding = model.config.pad_token_id
    cut_writer_tables(model, tokens, None if padding is None else number.get(padding))
    if getattr(model.config, "decoder_vocab_size", None):  # Marian
        model.config.decoder_vocab_size = len(tokens)
    renumber(model.generation_config, number.get)
    return model


def _smaller_reader(model: PreTrainedModel, tokens: Sequence[int], number: dict[int, int]) -> PreTrainedModel:
    table, family = word_embeddings(model), family_of(model.config.model_type)
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
    return model


def _writes(model: PreTrainedModel) -> bool:
    return model.config.model_type in generator_types()
