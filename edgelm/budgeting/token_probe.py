"""Models that write of any shapes, as bundles that are there to be timed: the model's own layers, of which the first
units stay, with weights that are rounded to the nearest."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from edgelm.anatomy import TaskModel, cut_tokens, fixed_tokens, keep_layers, layer_shapes, model_layers
from edgelm.anatomy.sizes import text_limit
from edgelm.checkpoint import Checkpoint
from edgelm.data.dataset import Dataset
from edgelm.device import Device
from edgelm.export.draft import Draft
from edgelm.export.finish import finish
from edgelm.export.generation.steps import build
from edgelm.export.prepare import DEFAULT_CONTEXT, meant_precision
from edgelm.export.settings import ExportSettings
from edgelm.progress import silent
from edgelm.quantize.settings import Quantization
from edgelm.shapes import LayerShape, Shapes


def shaped(model: PreTrainedModel, shapes: Shapes, tokens: int | None = None) -> PreTrainedModel:
    """A copy of a model whose layers have these shapes: of each the first units that there are.

    Args:
        shapes: of the layers that stay, in order; each stands for the next layer of its stack that is as wide.
        tokens: that it knows; None: all.
    """
    known = int(model.get_input_embeddings().weight.shape[0])
    if tokens is None or tokens >= known:
        model = copy.deepcopy(model)
    else:
        fixed = fixed_tokens(model)
        others = (token for token in range(known) if token not in fixed)
        model = cut_tokens(model, sorted([*fixed, *(next(others) for _ in range(max(0, tokens - len(fixed))))]))
    kept, layers, place = [], model_layers(model), 0
    for shape in shapes:
        place = _next_layer(layer_shapes(model), shape, place)
        units = {"heads": shape.heads, "ffn": shape.ffn} | ({} if shape.cross is None else {"cross": shape.cross})
        layers[place].cut(**{name: range(count) for name, count in units.items()})
        kept.append(place)
        place += 1
    keep_layers(model, kept)
    return model


def _next_layer(shapes: Shapes, wanted: LayerShape, place: int) -> int:
    """The first layer from a place on that is of the stack and as wide."""
    for number in range(place, len(shapes)):
        there = shapes[number]
        wide = there.heads >= wanted.heads and there.ffn >= wanted.ffn and (there.cross or 0) >= (wanted.cross or 0)
        if there.stack == wanted.stack and wide:
            return number
    raise ValueError(f"no layer is as wide as {wanted}")


def write_probe(
    model: PreTrainedModel,
    output: Path,
    *,
    checkpoint: Checkpoint,
    device: Device,
    precision: str,
    embedding_bits: int | None = None,
    tokenizer: Any = None,
) -> Path:
    """Write a model as a bundle; nothing is compared or calibrated.

    Args:
        checkpoint: that the model, perhaps cut, is of.
        tokenizer: None: one that knows nothing, for timing alone.
    """
    task = checkpoint.task
    settings = ExportSettings(
        checkpoint.path,
        output=output,
        device=device,
        precision=meant_precision(precision),
        calibration=None,
        quantization=Quantization(
            rounding="nearest" if meant_precision(precision) == "int4" else None, embedding_bits=embedding_bits
        ),
        evaluation=None,
        pairs=None,
        max_length=None,
        opset=None,
        single=False,
        max_batch=1,
        engine=False,
        seed=0,
        allow_pickle=False,
        overwrite=True,
        kind=None,
        progress=silent,
    )
    source = TaskModel(model, tokenizer or _empty_tokenizer(), task, longest_text(checkpoint))
    return finish(build(Draft(settings, checkpoint, source, Dataset("none", ())))).path


def longest_text(checkpoint: Checkpoint) -> int:
    """Tokens of the longest text that a bundle of a checkpoint holds by default."""
    return min(text_limit(checkpoint.config), DEFAULT_CONTEXT)


def _empty_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of one token: texts that are timed are made of ids."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>")), pad_token="<pad>"
    )
