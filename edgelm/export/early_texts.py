"""Texts by which a graph can be compared with a model that some texts leave early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from edgelm.anatomy import TaskModel, layer_shapes
from edgelm.anatomy.exits import exit_heads, exits_heard
from edgelm.export.samples import encode

_NEAR, _NEARLY = 0.5, 0.05  # logits, and of the threshold


def that_leave_clearly(source: TaskModel, texts: Sequence[Any]) -> Sequence[Any]:
    """Those of which no head is nearly as sure as its threshold asks: what rounding does there decides between two
    heads, whose logits are others though their answer is the same. All of them where none is left."""
    if not exit_heads(source.model):
        return texts
    thresholds = [shape.leaves for shape in layer_shapes(source.model) if shape.leaves is not None]
    clear = [text for text in texts if _is_clear(source, text, thresholds)]
    return clear or texts


def _is_clear(source: TaskModel, text: Any, thresholds: Sequence[float]) -> bool:
    samples = encode(source.tokenizer, source.task, [text], max_length=source.max_length)
    if not samples.encoded.lengths[0]:
        return True
    feed = samples.feed(samples.encoded.parts[0])
    with torch.inference_mode(), exits_heard(source.model) as said:
        source.outputs({name: torch.from_numpy(values) for name, values in feed.items()})
    for logits, threshold in zip(said, thresholds, strict=True):
        largest, following = logits[0].topk(2).values.tolist()
        if abs(largest - following - threshold) < max(_NEAR, _NEARLY * threshold):
            return False
    return True
