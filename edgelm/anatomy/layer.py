"""One layer as sublayers of matrices, and structural pruning: smaller matrices in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from edgelm.anatomy.families.family import Family, Slice
from edgelm.anatomy.head_table import read_columns
from edgelm.anatomy.modeling_edgelm import AbsentAttention, AbsentOutput, halves, leaves
from edgelm.anatomy.projection import Projection
from edgelm.errors import UnsupportedFamily, UsageError
from edgelm.shapes import LayerShape

ATTENTION: Literal["attention"] = "attention"
CROSS: Literal["cross"] = "cross"
FFN: Literal["ffn"] = "ffn"
Kind = Literal["attention", "cross", "ffn"]

# What some attention modules keep beside their matrices: the number of heads, and what all of them are wide.
_HEAD_COUNTS = ("num_attention_heads", "n_heads", "num_heads")
_HEAD_WIDTHS = ("all_head_size", "split_size")


@dataclass(frozen=True)
class Sublayer:
    """An attention or the feed-forward network of one layer: what reads the residual stream, by units that can go one
    by one, and what is added to it.

    A unit is a head, or, where several queries share a key and a value, those with all of them; or a channel of the
    feed-forward network with its gate.

    Attributes:
        layer: that it is a part of.
        kind: attention to the own sequence, a decoder's attention to the encoder's output (cross), or ffn.
    """

    layer: Layer
    kind: Kind

    @property
    def units(self) -> int:
        """Number of units that are left."""
        if self.kind == FFN:
            return self.layer.ffn
        return self.layer.heads if self.kind == ATTENTION else self.layer.cross_heads

    @property
    def unit_size(self) -> int:
        """Inputs of the output projection that belong to one unit."""
        output = self.output
        return output.in_features // self.units if self.units else self.layer.head_size if self.kind != FFN else 1

    @property
    def inputs(self) -> tuple[Projection, ...]:
        """What gives the units: query, key, value (and those of relative positions); or channels and gates."""
        layer, family = self.layer, self.layer.family
        if self.kind == FFN:
            names = ("ffn_in", "ffn_gate") if family.ffn_gate is not None else ("ffn_in",)
            return tuple(layer.projection(name) for name in names)
        extra = layer.head_inputs if self.kind == ATTENTION else ()
        return (
            *(layer.projection(name, self.kind) for name in ("query", "key", "value")),
            *(Projection.of(layer.root.get_submodule(path), name=path) for path in extra),
        )

    @property
    def readers(self) -> list[Projection]:
        """The matrices of `inputs` as they lie in modules, a fused one once and whole."""
        return [Projection(module) for module in dict.fromkeys(each.module for each in self.inputs)]

    @property
    def output(self) -> Projection:
        """What reads the units, and gives what is added."""
        return self.layer.projection("ffn_out" if self.kind == FFN else "attention_output", self.kind)

    @property
    def norm_before(self) -> str | None:
        """Path in the layer of the module that reads the residual stream for it; None: its first projection does."""
        family = self.layer.family
        paths = {ATTENTION: family.attention_residual, CROSS: family.cross_residual, FFN: family.ffn_residual}
        return paths[self.kind]

    @property
    def norm_after(self) -> str | None:
        """Path in the layer of a norm that the output goes through before it is added; None: there is none."""
        family = self.layer.family
        return {ATTENTION: family.attention_after, CROSS: None, FFN: family.ffn_after}[self.kind]

    @property
    def residual(self) -> nn.Module:
        """The module whose first input is what the output is added to."""
        path = self.norm_before
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
        if self.kind != FFN:
            self.layer.note_heads(kept, self.kind)
        if not kept:
            self.output.ensure_bias()
            self.layer.remove(self.kind)


@dataclass(frozen=True)
class Layer:
    """One layer of a living model; the matrices are read through `family`, so cuts are seen."""

    root: nn.Module
    family: Family

    @property
    def stack(self) -> str:
        """The stack that it is a layer of: encoder or decoder."""
        return self.family.stack

    def place(self, part: str, kind: Kind = ATTENTION) -> str | Slice:
        """Where the matrix of a part is.

        Args:
            part: query, key, value, attention_output, ffn_in, ffn_gate or ffn_out.
            kind: which attention's; a decoder may have two.

        Raises:
            UnsupportedFamily: the family has no such part.
        """
        place: str | Slice | None = getattr(self.family, part)
        if place is None:
            raise UnsupportedFamily(f"layers of {self.family.model_types[0]} have no {part}.")
        return self.family.crossing(place) if kind == CROSS and isinstance(place, str) else place

    def projection(self, part: str, kind: Kind = ATTENTION) -> Projection:
        """The matrix of a part, as `place` names it.

        Raises:
            UnsupportedFamily: what is there is no linear layer, or the family has no such part.
        """
        place = self.place(part, kind)
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
        """Its attention to the own sequence."""
        return Sublayer(self, ATTENTION)

    @property
    def feed_forward(self) -> Sublayer:
        """Its feed-forward network."""
        return Sublayer(self, FFN)

    @property
    def sublayers(self) -> tuple[Sublayer, ...]:
        """All, in the order in which they run."""
        cross = () if self.family.cross is None else (Sublayer(self, CROSS),)
        return self.attention, *cross, self.feed_forward

    def sublayer(self, kind: str) -> Sublayer:
        """The one of a kind.

        Raises:
            UnsupportedFamily: layers of this family have none.
        """
        for sublayer in self.sublayers:
            if sublayer.kind == kind:
                return sublayer
        raise UnsupportedFamily(f"layers of {self.family.model_types[0]} have no {kind}.")

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
    def cross_heads(self) -> int:
        """Heads that are left of a decoder's attention to the encoder's output."""
        return 0 if self.family.cross is None else self.projection("key", CROSS).out_features // self.head_size

    @property
    def ffn(self) -> int:
        """Number of FFN channels that are left."""
        return self.projection("ffn_in").out_features

    @property
    def shape(self) -> LayerShape:
        """How wide it is now."""
        cross = None if self.family.cross is None else self.cross_heads
        shape = LayerShape(self.heads, self.ffn, cross=cross, stack=self.stack)
        return replace(shape, halves=halves(self.root), leaves=leaves(self.root))

    def cut(
        self,
        *,
        heads: Sequence[int] | None = None,
        ffn: Sequence[int] | None = None,
        cross: Sequence[int] | None = None,
    ) -> None:
        """Keep only these heads and FFN channels, by their present indices: `Sublayer.cut` of each."""
        for kind, units in ((ATTENTION, heads), (CROSS, cross), (FFN, ffn)):
            if units is not None:
                self.sublayer(kind).cut(units)

    def note_heads(self, kept: Sequence[int], kind: Kind = ATTENTION) -> None:
        """Correct what attention modules keep beside their matrices: counts, and columns of a table of all heads."""
        attention = self.root.get_submodule(self._attention(kind))
        for name in _HEAD_COUNTS:
            if hasattr(attention, name):
                setattr(attention, name, len(kept))
        for name in _HEAD_WIDTHS:
            if hasattr(attention, name):
                setattr(attention, name, len(kept) * self.head_size)
        if self.family.head_table is not None and kept:
            read_columns(attention, kept)

    def remove(self, kind: Kind) -> None:
        """Leave the bias of the output projection, and of an attention nothing that looks at other tokens; norms that
        only the sublayer read or went through go too."""
        sublayer = self.sublayer(kind)
        bias = sublayer.output.bias
        if bias is None:
            raise UsageError(f"the {kind} has no bias that could be left of it.", hint="Call ensure_bias first.")
        path = self.place("ffn_out" if kind == FFN else "attention_output", kind)
        assert isinstance(path, str)  # output projections are never fused
        self.root.set_submodule(path, AbsentOutput(bias))
        if self.family.output_norm is None and sublayer.norm_before is not None:
            self.root.set_submodule(sublayer.norm_before, nn.Identity())
        if sublayer.norm_after is not None:
            self.root.set_submodule(sublayer.norm_after, nn.Identity())
        if kind != FFN:
            self._remove_attention(kind)

    def _attention(self, kind: Kind) -> str:
        return self.family.cross if kind == CROSS and self.family.cross is not None else self.family.attention

    def _remove_attention(self, kind: Kind) -> None:
        path = self._attention(kind)
        places = [self.place(part, kind) for part in ("query", "key", "value", "attention_output")]
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


def _rows(units: Sequence[int], size: int) -> torch.Tensor:
    return torch.tensor([row for unit in units for row in range(unit * size, (unit + 1) * size)], dtype=torch.long)


def _has(module: nn.Module, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    return name in dict(module.get_submodule(parent).named_children())
