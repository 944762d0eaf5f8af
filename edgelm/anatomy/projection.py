"""One matrix of a sublayer, whatever module holds it: a linear layer, transformers' Conv1D, or a share of a fused
matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from edgelm.errors import UnsupportedFamily, UsageError


@dataclass(frozen=True)
class Projection:
    """A view of a matrix as (out, in); the module is read each time, so that cuts are seen.

    Attributes:
        module: `nn.Linear`, weight (out, in), or `Conv1D` (GPT-2), weight (in, out).
        part, parts: which of so many equal shares of the outputs this one is: a fused matrix, such as ModernBERT's
            Wqkv, has one Projection a share. They are cut together, since what they give is split into equal shares.
    """

    module: nn.Linear | Conv1D
    part: int = 0
    parts: int = 1

    @classmethod
    def of(cls, module: nn.Module, part: int = 0, parts: int = 1, *, name: str = "") -> Projection:
        """The projection in a module.

        Raises:
            UnsupportedFamily: it is neither `nn.Linear` nor `Conv1D` (adapters and quantized weights are not).
        """
        if not isinstance(module, (nn.Linear, Conv1D)):
            raise UnsupportedFamily(
                f"{name or 'a projection'} is a {type(module).__name__}, which cannot be cut; expected a linear layer.",
                hint="Give the model in floats, with adapters merged (merge_and_unload).",
            )
        return cls(module, part, parts)

    @property
    def weight(self) -> torch.Tensor:
        """(out, in), sharing its memory with the module: gradients and changes in place go through."""
        weight: torch.Tensor = self.module.weight
        whole = weight.T if isinstance(self.module, Conv1D) else weight
        return whole if self.parts == 1 else self.split(whole, dim=0)

    @property
    def bias(self) -> torch.Tensor | None:
        """(out,), as `weight`; None where the module has none."""
        bias: torch.Tensor | None = self.module.bias
        return bias if bias is None or self.parts == 1 else self.split(bias, dim=0)

    @property
    def out_features(self) -> int:
        """Outputs of this part."""
        return int(self.weight.shape[0])

    @property
    def in_features(self) -> int:
        """Inputs."""
        return int(self.weight.shape[1])

    def split(self, values: torch.Tensor, *, dim: int = -1) -> torch.Tensor:
        """This part's share of what the whole module gives, (..., all outputs)."""
        if self.parts == 1:
            return values
        size = values.shape[dim] // self.parts
        return values.narrow(dim, self.part * size, size)

    def keep_outputs(self, rows: torch.Tensor) -> None:
        """Keep these outputs alone, by their present indices, in every part of the matrix."""
        size = self.out_features
        rows = torch.cat([rows + part * size for part in range(self.parts)]).to(self.weight.device)
        self._set(self._whole()[rows], None if self.module.bias is None else self.module.bias.detach()[rows])

    def keep_inputs(self, columns: torch.Tensor) -> None:
        """Keep these inputs alone, by their present indices; every part reads them."""
        self._set(self._whole()[:, columns.to(self.weight.device)], self.module.bias)

    def ensure_bias(self) -> None:
        """Give the module a bias of zeros if it has none."""
        if self.module.bias is None:
            self.module.bias = nn.Parameter(self._whole().new_zeros(self.out_features * self.parts))

    def replace(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Put in another weight (out, in) and bias (out,), of any shape.

        Raises:
            UsageError: a part of a fused matrix, whose neighbours would not fit.
        """
        if self.parts != 1:
            raise UsageError("a part of a fused matrix cannot be replaced alone.", hint="Replace the whole matrix.")
        self._set(weight, bias)

    def _whole(self) -> torch.Tensor:
        """(out of all parts, in), detached."""
        weight: torch.Tensor = self.module.weight.detach()
        return weight.T if isinstance(self.module, Conv1D) else weight

    def _set(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        stored = weight.T if isinstance(self.module, Conv1D) else weight
        self.module.weight = nn.Parameter(stored.detach().clone(memory_format=torch.contiguous_format))
        self.module.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        if isinstance(self.module, nn.Linear):
            self.module.out_features, self.module.in_features = weight.shape
        else:
            self.module.nf, self.module.nx = weight.shape
