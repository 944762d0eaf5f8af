"""A table with one column a head that is added to the attention scores of every layer, where layers lose heads.

MPNet computes the bias of relative positions once, for all heads of the uncut model. The table stays whole, and a layer
that lost heads reads the columns of those that it kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgelm.anatomy.modeling_edgelm import COLUMNS, has_columns, set_columns

__all__ = ["COLUMNS", "columns_of", "has_columns", "read_columns", "set_columns"]


def read_columns(attention: nn.Module, kept: Sequence[int]) -> None:
    """Let an attention read these of the columns that it reads now, (heads,) indices into the table; the buffer
    `head_columns` is saved with the model."""
    chosen = torch.tensor(list(kept), dtype=torch.long)
    known = columns_of(attention, max(kept) + 1)
    set_columns(attention, known[chosen.to(known.device)])


def columns_of(attention: nn.Module, heads: int) -> torch.Tensor:
    """(heads,) which columns an attention of so many heads reads: the first ones, if it was never cut."""
    return attention.get_buffer(COLUMNS) if has_columns(attention) else torch.arange(heads)
