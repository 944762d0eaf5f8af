"""What stands where a whole attention or feed-forward network was removed: the bias that it always added."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class AbsentOutput(nn.Linear):
    """An output projection without inputs, (hidden, 0): it gives its bias to every token, whatever comes in."""

    def __init__(self, bias: torch.Tensor) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = 0, len(bias)
        self.weight = nn.Parameter(bias.new_empty(len(bias), 0))
        self.bias = nn.Parameter(bias.detach().clone())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(hidden,), which the residual addition spreads over (batch, tokens, hidden)."""
        return self.bias


class AbsentAttention(nn.Module):
    """An attention without heads, with the names of the one that it stands for: (batch, tokens, hidden) goes through
    unread.

    Args:
        attention: the module that was there.
        projections: names of its query, key and value, and of the output projection where that lies inside.
        output: whether the last of them is the output projection.
        head_size: attribute that holds the width of a head.
        norm: name of the norm inside that the sum of input and result goes through; None: there is none inside.
    """

    def __init__(
        self,
        attention: nn.Module,
        projections: tuple[str, ...],
        *,
        output: bool,
        head_size: str,
        norm: str | None = None,
    ) -> None:
        super().__init__()
        for name in projections:
            self.add_module(name, attention.get_submodule(name))
        self._output = projections[-1] if output else None
        self._norm = norm
        if norm is not None:
            self.add_module(norm, attention.get_submodule(norm))
        setattr(self, head_size, getattr(attention, head_size))

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """What the output projection is given, or its result, or the norm of its sum with the input; and no attention
        weights."""
        result = hidden_states if self._output is None else self.get_submodule(self._output)(hidden_states)
        if self._norm is not None:
            result = self.get_submodule(self._norm)(hidden_states + result)
        return result, None
