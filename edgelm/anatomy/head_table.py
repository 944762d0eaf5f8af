"""A table with one column a head that is added to the attention scores of every layer, where layers lose heads.

MPNet computes the bias of relative positions once, for all heads of the uncut model. The table stays whole, and a layer
that lost heads reads the columns of those that it kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

COLUMNS = "head_columns"
_ARGUMENT, _PLACE = "position_bias", 2  # of the attention's forward


def read_columns(attention: nn.Module, kept: Sequence[int]) -> None:
    """Let an attention read these of the columns that it reads now, (heads,) indices into the table; the buffer
    `head_columns` is saved with the model."""
    chosen = torch.tensor(list(kept), dtype=torch.long)
    known = columns_of(attention, max(kept) + 1)
    set_columns(attention, known[chosen.to(known.device)])


def set_columns(attention: nn.Module, columns: torch.Tensor) -> None:
    """Let an attention read these columns of the table."""
    if not has_columns(attention):
        attention.register_forward_pre_hook(_select, with_kwargs=True)
    attention.register_buffer(COLUMNS, columns.detach().clone())


def columns_of(attention: nn.Module, heads: int) -> torch.Tensor:
    """(heads,) which columns an attention of so many heads reads: the first ones, if it was never cut."""
    return attention.get_buffer(COLUMNS) if has_columns(attention) else torch.arange(heads)


def has_columns(attention: nn.Module) -> bool:
    """Whether an attention reads columns of its own."""
    return COLUMNS in dict(attention.named_buffers(recurse=False))


def _select(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    columns = module.get_buffer(COLUMNS)
    if kwargs.get(_ARGUMENT) is not None:
        return args, kwargs | {_ARGUMENT: kwargs[_ARGUMENT].index_select(1, columns)}
    if len(args) > _PLACE and args[_PLACE] is not None:
        args = (*args[:_PLACE], args[_PLACE].index_select(1, columns), *args[_PLACE + 1 :])
    return args, kwargs
