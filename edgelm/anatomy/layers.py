"""The encoder layers of a model as blocks of matrices, and structural pruning: smaller matrices in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.families.table import Family, family_of
from edgelm.anatomy.removed import AbsentAttention, AbsentOutput
from edgelm.shapes import LayerShape


@dataclass(frozen=True)
class Block:
    """One encoder layer of a living model; the matrices are read through `family`, so cuts are seen."""

    layer: nn.Module
    family: Family

    def module(self, part: str) -> nn.Linear:
        """The linear module of a part: query, key, value, attention_output, ffn_in or ffn_out."""
        module = self.layer.get_submodule(getattr(self.family, part))
        assert isinstance(module, nn.Linear)
        return module

    @property
    def output_norm(self) -> nn.Module:
        """What the layer's last sum goes through."""
        return self.layer.get_submodule(self.family.output_norm)

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return int(getattr(self.layer.get_submodule(self.family.attention), self.family.head_size))

    @property
    def heads(self) -> int:
        """Number of heads that are left."""
        return self.module("query").out_features // self.head_size

    @property
    def ffn(self) -> int:
        """Number of FFN channels that are left."""
        return self.module("ffn_in").out_features

    def cut(self, *, heads: Sequence[int] | None = None, ffn: Sequence[int] | None = None) -> None:
        """Keep only these heads and FFN channels, by their present indices: the matrices get smaller.

        Where none is kept, the bias of the output projection is all that is left.
        """
        if heads is not None and len(heads) < self.heads:
            size = self.head_size
            rows = torch.tensor(
                [row for head in sorted(heads) for row in range(head * size, (head + 1) * size)], dtype=torch.long
            )
            for part in ("query", "key", "value"):
                _keep_rows(self.module(part), rows)
            _keep_columns(self.module("attention_output"), rows)
            self._count_heads(len(heads))
            if not heads:
                self._drop_output("attention_output")
                self._drop_attention()
        if ffn is not None and len(ffn) < self.ffn:
            rows = torch.tensor(sorted(ffn), dtype=torch.long)
            _keep_rows(self.module("ffn_in"), rows)
            _keep_columns(self.module("ffn_out"), rows)
            if not ffn:
                self._drop_output("ffn_out")

    def _drop_output(self, part: str) -> None:
        """Leave the bias of an output projection."""
        bias = self.module(part).bias
        assert bias is not None
        self.layer.set_submodule(getattr(self.family, part), AbsentOutput(bias))

    def _drop_attention(self) -> None:
        """Leave nothing that looks at other tokens."""
        path = self.family.attention
        inside = [getattr(self.family, part) for part in ("query", "key", "value", "attention_output")]
        names = tuple(name.removeprefix(f"{path}.") for name in inside if name.startswith(f"{path}."))
        absent = AbsentAttention(
            self.layer.get_submodule(path), names, output=len(names) == len(inside), head_size=self.family.head_size
        )
        self.layer.set_submodule(path, absent)

    def _count_heads(self, heads: int) -> None:
        """Correct the head counts that some attention modules keep beside their matrices."""
        attention = self.layer.get_submodule(self.family.attention)
        for name in ("num_attention_heads", "n_heads"):
            if hasattr(attention, name):
                setattr(attention, name, heads)
        if hasattr(attention, "all_head_size"):
            setattr(attention, "all_head_size", heads * self.head_size)  # noqa: B010 - torch types it as a tensor


def base_model(model: PreTrainedModel) -> nn.Module:
    """The encoder under the head."""
    base = model.base_model
    assert isinstance(base, nn.Module)
    return base


def blocks(model: PreTrainedModel) -> list[Block]:
    """The encoder layers, from the input on.

    Raises:
        UnsupportedFamily: the architecture has no anatomy.
    """
    family = family_of(model.config.model_type)
    layers = base_model(model).get_submodule(family.layers)
    return [Block(layer, family) for layer in layers.children()]


def layer_shapes(model: PreTrainedModel) -> tuple[LayerShape, ...]:
    """How wide each layer is now."""
    return tuple(LayerShape(heads=block.heads, ffn=block.ffn) for block in blocks(model))


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> None:
    """Drop all encoder layers but these, in place."""
    family = family_of(model.config.model_type)
    base = base_model(model)
    parent_path, _, name = family.layers.rpartition(".")
    old = base.get_submodule(family.layers)
    assert isinstance(old, nn.ModuleList)
    setattr(base.get_submodule(parent_path), name, nn.ModuleList(old[index] for index in sorted(layers)))
    setattr(model.config, family.config_layers, len(layers))


def parameter_count(model: PreTrainedModel) -> int:
    """Number of weights; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _keep_rows(linear: nn.Linear, rows: torch.Tensor) -> None:
    rows = rows.to(linear.weight.device)
    linear.weight = nn.Parameter(linear.weight.detach()[rows].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach()[rows].clone())
    linear.out_features = len(rows)


def _keep_columns(linear: nn.Linear, columns: torch.Tensor) -> None:
    columns = columns.to(linear.weight.device)
    linear.weight = nn.Parameter(linear.weight.detach()[:, columns].clone())
    linear.in_features = len(columns)
