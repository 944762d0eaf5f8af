"""Which layers and heads of the model that it all began with are left, as a record says it after a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel

from edgelm.anatomy import layer_shapes
from edgelm.checkpoint import Record
from edgelm.shapes import LayerShape


def with_layers(record: Record, model: PreTrainedModel, layers: Sequence[int]) -> Record:
    """The record of the model with only these of its layers, numbered as in the model that it all began with."""
    before = record.layers or layer_shapes(model)
    numbered = [
        replace(shape, origin=index if shape.origin is None else shape.origin) for index, shape in enumerate(before)
    ]
    return replace(record, layers=tuple(numbered[index] for index in layers))


def with_heads(record: Record, heads: Sequence[Sequence[int]], now: Sequence[LayerShape]) -> tuple[LayerShape, ...]:
    """Layer shapes after a cut, with the kept heads numbered as in the model that it all began with."""
    before = record.layers or now
    shapes = []
    for old, kept_heads, new in zip(before, heads, now, strict=True):
        original = [old.kept_heads[index] for index in kept_heads] if old.kept_heads else kept_heads
        shapes.append(replace(new, kept_heads=tuple(original), origin=old.origin))
    return tuple(shapes)
