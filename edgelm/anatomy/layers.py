"""The encoder layers of a model as sublayers of matrices, and structural pruning: smaller matrices in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.families.family import Family, Slice
from edgelm.anatomy.families.table import family_of
from edgelm.anatomy.head_table import read_columns
from edgelm.anatomy.modeling_edgelm import AbsentAttention, AbsentOutput
from edgelm.anatomy.projection import Projection
from edgelm.errors import UnsupportedFamily, UsageError
from edgelm.shapes import LayerShape

ATTENTION: Literal["attention"] = "attention"
FFN: Literal["ffn"] = "ffn"
Kind = Literal["attention", "ffn"]

# Head counts that some attention modules keep beside their matrices.
_HEAD_COUNTS = ("num_attention_heads", "n_heads", "num_heads")


@dataclass(frozen=True)
class Sublayer:
    """The attention or the feed-forward network of one layer: what reads the residual stream, by units that can go one
    by one, and what is added to it.

    A unit is a head, or, where several queries share a key and a value, those with all of them; or a channel of the
    feed-forward network with its gate.

    Attributes:
        layer: that it is a part of.
        kind: which of the two.
    """

    layer: Layer
    kind: Kind

    @property
    def units(self) -> int:
        """Number of units that are left."""
        return self.layer.heads if self.kind == ATTENTION else self.layer.ffn

    @property
    def unit_size(self) -> int:
        """Inputs of the output projection that belong to one unit."""
        output = self.output
        return output.in_features // self.units if self.units else self.layer.head_size if self.kind == ATTENTION else 1

    @property
    def inputs(self) -> tuple[Projection, ...]:
        """What gives the units: query, key, value (and those of relative positions); or channels and gates."""
        layer, family = self.layer, self.layer.family
        if self.kind == FFN:
            names = ("ffn_in", "ffn_gate") if family.ffn_gate is not None else ("ffn_in",)
            return tuple(layer.projection(name) for name in names)
        return (
            *(layer.projection(name) for name in ("query", "key", "value")),
            *(Projection.of(layer.root.get_submodule(path), name=path) for path in layer.head_inputs),
        )

    @property
    def output(self) -> Projection:
        """What reads the units, and gives what is added."""
        return self.layer.projection("attention_output" if self.kind == ATTENTION else "ffn_out")

    @property
    def residual(self) -> nn.Module:
        """The module whose first input is what the output is added to."""
        family = self.layer.family
        path = family.attention_residual if self.kind == ATTENTION else family.ffn_residual
        if path is not None:
            return self.layer.root.get_submodule(path)
        return self.inputs[0].module

    def cut(self, units: Sequence[int]) -> None:
        """Keep only these units, by their present indices: the matrices get smaller.

        Where none is kept, the bias of the output projection is all that is left; it is zero where the family has none.

        Raises:
            UsageError: a unit that is not there.
        """
        kept = sorted(set(units))
        if kept and not 0 <= kept[0] <= kept[-1] < self.units:
            raise UsageError(
                f"the {self.kind} has {self.units} units, but {kept[-1] if kept[0] >= 0 else kept[0]} is to be kept.",
                hint="Units count from 0.",
            )
        count, columns = self.units, _rows(kept, self.unit_size)
        if len(kept) == count:
            return
        for projection in {each.module: each for each in self.inputs}.values():  # a fused matrix is cut at once
            projection.keep_outputs(_rows(kept, projection.out_features // count))
        self.output.keep_inputs(columns)
        if self.kind == ATTENTION:
            self.layer.note_heads(kept)
        if not kept:
            self.output.ensure_bias()
            self.layer.remove(self.kind)


@dataclass(frozen=True)
class Layer:
    """One encoder layer of a living model; the matrices are read through `family`, so cuts are seen."""

    root: nn.Module
    family: Family

    def projection(self, part: str) -> Projection:
        """The matrix of a part: query, key, value, attention_output, ffn_in, ffn_gate or ffn_out.

        Raises:
            UnsupportedFamily: what is there is no linear layer, or the family has no such part.
        """
        place: str | Slice | None = getattr(self.family, part)
        if place is None:
            raise UnsupportedFamily(f"layers of {self.family.model_types[0]} have no {part}.")
        if isinstance(place, Slice):
            return Projection.of(self.root.get_submodule(place.path), place.part, place.of, name=place.path)
        return Projection.of(self.root.get_submodule(place), name=place)

    def module(self, part: str) -> nn.Module:
        """The module that holds the matrix of a part, perhaps with others'."""
        return self.projection(part).module

    @property
    def head_inputs(self) -> tuple[str, ...]:
        """Paths of further projections that give every head a share, which some models of the family lack."""
        return tuple(path for path in self.family.head_inputs if _has(self.root, path))

    @property
    def attention(self) -> Sublayer:
        """Its attention."""
        return Sublayer(self, ATTENTION)

    @property
    def feed_forward(self) -> Sublayer:
        """Its feed-forward network."""
        return Sublayer(self, FFN)

    @property
    def sublayers(self) -> tuple[Sublayer, Sublayer]:
        """Both, in the order in which they run."""
        return self.attention, self.feed_forward

    @property
    def output_norm(self) -> nn.Module | None:
        """What the layer's last sum goes through; None: nothing, where norms stand before the sublayers."""
        path = self.family.output_norm
        return None if path is None else self.root.get_submodule(path)

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return int(getattr(self.root.get_submodule(self.family.attention), self.family.head_size))

    @property
    def heads(self) -> int:
        """Number of heads that are left; of groups, where several queries share a key."""
        return self.projection("key").out_features // self.head_size

    @property
    def ffn(self) -> int:
        """Number of FFN channels that are left."""
        return self.projection("ffn_in").out_features

    def cut(self, *, heads: Sequence[int] | None = None, ffn: Sequence[int] | None = None) -> None:
        """Keep only these heads and FFN channels, by their present indices: `Sublayer.cut` of both."""
        if heads is not None:
            self.attention.cut(heads)
        if ffn is not None:
            self.feed_forward.cut(ffn)

    def note_heads(self, kept: Sequence[int]) -> None:
        """Correct what attention modules keep beside their matrices: counts, and columns of a table of all heads."""
        attention = self.root.get_submodule(self.family.attention)
        for name in _HEAD_COUNTS:
            if hasattr(attention, name):
                setattr(attention, name, len(kept))
        if hasattr(attention, "all_head_size"):
            setattr(attention, "all_head_size", len(kept) * self.head_size)  # noqa: B010 - torch types it as a tensor
        if self.family.head_table is not None and kept:
            read_columns(attention, kept)

    def remove(self, kind: Kind) -> None:
        """Leave the bias of the output projection, and of an attention nothing that looks at other tokens; a norm that
        only the sublayer read goes too."""
        part = "attention_output" if kind == ATTENTION else "ffn_out"
        bias = self.projection(part).bias
        if bias is None:
            raise UsageError(f"the {kind} has no bias that could be left of it.", hint="Call ensure_bias first.")
        self.root.set_submodule(getattr(self.family, part), AbsentOutput(bias))
        before = self.family.attention_residual if kind == ATTENTION else self.family.ffn_residual
        if self.family.output_norm is None and before is not None:
            self.root.set_submodule(before, nn.Identity())
        if kind == ATTENTION:
            self._remove_attention()

    def _remove_attention(self) -> None:
        path = self.family.attention
        places = [getattr(self.family, part) for part in ("query", "key", "value", "attention_output")]
        inside = list(dict.fromkeys(place.path if isinstance(place, Slice) else place for place in places))
        names = tuple(name.removeprefix(f"{path}.") for name in inside if name.startswith(f"{path}."))
        absent = AbsentAttention(
            self.root.get_submodule(path),
            names,
            output=len(names) == len(inside),
            head_size=self.family.head_size,
            norm=self.family.attention_norm,
        )
        self.root.set_submodule(path, absent)


def base_model(model: PreTrainedModel) -> nn.Module:
    """The encoder under the head.

    Raises:
        UnsupportedFamily: the model has none.
    """
    base = model.base_model
    if not isinstance(base, nn.Module):
        raise UnsupportedFamily(f"a {type(model).__name__} has no base model.", hint="Give a model of transformers.")
    return base


def model_layers(model: PreTrainedModel) -> list[Layer]:
    """The encoder layers that have weights of their own, from the input on. Where several share theirs (ALBERT), they
    are one here, and what is cut of it is cut of all.

    Raises:
        UnsupportedFamily: the architecture has no anatomy.
    """
    family = family_of(model.config.model_type)
    if getattr(model.config, "inner_group_num", 1) != 1:
        raise UnsupportedFamily(
            f"config.json: inner_group_num is {model.config.inner_group_num}, groups of several layers each.",
            hint="edgelm takes ALBERT models with inner_group_num 1, which all published ones have.",
        )
    layers = base_model(model).get_submodule(family.layers)
    return [Layer(layer, family) for layer in layers.children()]


def require_own_weights(model: PreTrainedModel, what: str) -> None:
    """Refuse a model whose layers share their weights (ALBERT), of which `what` would need some alone.

    Raises:
        UnsupportedFamily: its layers share their weights.
    """
    family = family_of(model.config.model_type)
    layers = int(getattr(model.config, family.config_layers))
    own = layers if family.config_groups is None else int(getattr(model.config, family.config_groups))
    if own != layers:
        raise UnsupportedFamily(
            f"the {layers} layers of this {model.config.model_type} share {own} set{'s' * (own > 1)} of weights, so "
            f"{what}.",
            hint="Cut its heads and channels in all layers at once (stage prune), its vocabulary, or quantize it; or "
            "teach a student of another family.",
        )


def sublayers(model: PreTrainedModel) -> list[tuple[int, Sublayer]]:
    """The number of its layer and every sublayer that has units, from the input on.

    Raises:
        UnsupportedFamily: the architecture has no anatomy.
    """
    return [(index, part) for index, layer in enumerate(model_layers(model)) for part in layer.sublayers if part.units]


def layer_shapes(model: PreTrainedModel) -> tuple[LayerShape, ...]:
    """How wide each layer is now."""
    return tuple(LayerShape(heads=layer.heads, ffn=layer.ffn) for layer in model_layers(model))


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> None:
    """Drop all encoder layers but these, in place.

    Raises:
        UnsupportedFamily: the layers share their weights.
    """
    if sorted(layers) == list(range(len(model_layers(model)))):
        return
    require_own_weights(model, "none of them can be dropped")
    family = family_of(model.config.model_type)
    base = base_model(model)
    parent_path, _, name = family.layers.rpartition(".")
    old = list(base.get_submodule(family.layers).children())
    setattr(base.get_submodule(parent_path), name, nn.ModuleList(old[index] for index in sorted(layers)))
    for entry, value in layer_settings(model, layers).items():
        setattr(model.config, entry, value)


def layer_settings(model: PreTrainedModel, layers: Sequence[int]) -> dict[str, object]:
    """The entries of a configuration that speak of layers, for a model that has only these."""
    family = family_of(model.config.model_type)
    kept = sorted(layers)
    lists = {name: [getattr(model.config, name)[index] for index in kept] for name in family.config_by_layer}
    groups = {} if family.config_groups is None else {family.config_groups: len(kept)}
    return {family.config_layers: len(kept), **groups, **lists}


def parameter_count(model: PreTrainedModel) -> int:
    """Number of weights; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _rows(units: Sequence[int], size: int) -> torch.Tensor:
    return torch.tensor([row for unit in units for row in range(unit * size, (unit + 1) * size)], dtype=torch.long)


def _has(module: nn.Module, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    return name in dict(module.get_submodule(parent).named_children())
