"""Plans of the engines of a model that writes: a profile for prompts and one for steps, within what the memory of the
device holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelm.device import Device
from edgelm.engines.plan import workspace_of
from edgelm.errors import UsageError
from edgelm.runtime.engine_plan import EnginePlan, ShapeRange
from edgelm.runtime.graph_spec import GraphSpec, TensorSpec

PIECE = 512  # tokens of a prompt that are read at once; longer prompts are read in pieces
_USUAL_PAST = 512  # tokens behind which most of a text is written
_SHORTEST = 8  # tokens of a context, see --max-length
_SHARE = 0.8  # of the device's memory: the rest is the system's, and the runtime's own


@dataclass(frozen=True)
class TextSizes:
    """How large the texts are that engines are built for.

    Attributes:
        context: positions of a decoder, prompt and answer together.
        prompts: lengths of prompts or sources, in tokens.
        source: the longest source of an encoder-decoder; 0 for a decoder alone.
        rows: beams that are written at once.
    """

    context: int
    prompts: Sequence[int]
    source: int = 0
    rows: int = 1


def plan_decoder(device: Device, graph: GraphSpec, sizes: TextSizes, *, weights: int) -> EnginePlan:
    """The plan of a decoder whose keys and values grow.

    A prompt is read behind any past, so that a conversation goes on and speculation reads several tokens: up to `PIECE`
    tokens, or the whole context where that is shorter. A step reads one token of each row.

    Args:
        weights: bytes of the constants of all graphs of the bundle.

    Raises:
        UsageError: the device's memory does not hold so many positions.
    """
    _check_memory(device, graph, sizes, weights)
    context, rows = sizes.context, sizes.rows
    piece = min(PIECE, context)
    usual, past = min(_median(sizes.prompts), piece), min(_USUAL_PAST, max(1, (context - 1) // 2))
    prompts = {
        "batch": (1, 1, rows),
        "sequence": (1, usual, piece),
        "past": (0, 0, context - 1),
        "total": (1, usual, context - 1 + piece),
        "rows": (1, 1, piece),
    }
    steps = {
        "batch": (1, rows, rows),
        "sequence": (1, 1, 1),
        "past": (1, past, context - 1),
        "total": (2, past + 1, context),
        "rows": (1, 1, 1),
    }
    if sizes.source:
        source = {"sources": (1, 1, rows), "encoder_sequence": (1, _median(sizes.prompts), sizes.source)}
        prompts, steps = prompts | source, steps | source
    profiles = (ShapeRange(prompts), ShapeRange(steps))
    return EnginePlan(profiles, workspace_of(device), device.compute_capability)


def plan_encoder(device: Device, sizes: TextSizes) -> EnginePlan:
    """The plan of the graph that reads sources."""
    usual = min(_median(sizes.prompts), sizes.source)
    profile = ShapeRange({"batch": (1, 1, sizes.rows), "encoder_sequence": (1, usual, sizes.source)})
    return EnginePlan((profile,), workspace_of(device), device.compute_capability)


def _median(lengths: Sequence[int]) -> int:
    return max(1, int(np.median(lengths)))


def _check_memory(device: Device, graph: GraphSpec, sizes: TextSizes, weights: int) -> None:
    if device.memory_gb is None:
        return
    room, needed = _SHARE * device.memory_gb * 1e9, _memory(graph, sizes, sizes.context)
    if weights + needed <= room:
        return
    each = (needed - _memory(graph, sizes, 0)) / sizes.context
    most = int((room - weights - _memory(graph, sizes, 0)) / each)
    raise UsageError(
        f"a context of {sizes.context:,} tokens takes {needed / 1e9:.1f} GB beside {weights / 1e9:.1f} GB of weights: "
        f"more than {_SHARE:.0%} of the {device.memory_gb:g} GB of {device.name}.",
        hint=f"Export with --max-length {most} or less."
        if most >= _SHORTEST
        else "Export a smaller model, or in fewer bits: --precision int4.",
    )


def _memory(graph: GraphSpec, sizes: TextSizes, context: int) -> float:
    """Bytes of keys and values, past and present, of those of the source, of the scores of one layer (before and after
    the softmax) and of logits."""
    held = sum(_bytes(past, context) for past, _ in graph.cache()) * 2
    crossing = sum(_bytes(spec, sizes.source) for spec in graph.inputs if spec.role in ("cross-key", "cross-value"))
    first, _ = graph.cache()[0]
    heads = max(_size(spec, 1) for spec, _ in graph.cache())
    scores = 2 * np.dtype(first.dtype).itemsize * heads * PIECE * context
    vocabulary = graph.find("logits").shape[-1]
    logits = 4 * PIECE * (vocabulary if isinstance(vocabulary, int) else 0)
    return float(sizes.rows * (held + crossing + scores + logits))


def _bytes(spec: TensorSpec, positions: int) -> int:
    return np.dtype(spec.dtype).itemsize * _size(spec, 1) * _size(spec, 3) * positions


def _size(spec: TensorSpec, axis: int) -> int:
    size = spec.shape[axis]
    return size if isinstance(size, int) else 1
