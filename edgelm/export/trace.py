"""From a PyTorch encoder to a clean ONNX graph with named dynamic axes and the outputs of its task."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import torch
import transformers
from onnx import helper
from transformers import PreTrainedModel
from transformers.exporters import OnnxConfig, OnnxExporter
from transformers.exporters.onnxruntime_fusions import fuse_for_onnxruntime

from edgelm.anatomy import TaskModel
from edgelm.anatomy.halving import halving_norms, whole_length
from edgelm.anatomy.sentence_head import head_layers
from edgelm.errors import ModelError, UsageError
from edgelm.export.pooling import append_pooling
from edgelm.export.trace_costs import spared
from edgelm.graph.disentangled_attention import fuse_disentangled_attention
from edgelm.graph.external_data import LARGEST_MESSAGE, stored_bytes
from edgelm.graph.first_rows import read_first_rows
from edgelm.graph.fusion import simplify_attention
from edgelm.graph.halving import halve_tokens
from edgelm.graph.names import name_by_modules
from edgelm.graph.plain_attention import fuse_plain_attention
from edgelm.graph.rewrites import MICROSOFT, TRACED, check_opset, fold_weight_joins, remove_unused, rename_value
from edgelm.graph.row_layout import plain_rows
from edgelm.graph.unpadded import MASK, TOKENS, TYPES
from edgelm.tasks.task import Task
from edgelm.tasks.text import MultipleChoice, SentenceEmbedding

BATCH, SEQUENCE = "batch", "sequence"
_READ = (TOKENS, MASK, TYPES)


def export_graph(source: TaskModel, *, fused: bool, opset: int | None = None) -> onnx.ModelProto:
    """Export a model in FP32; the counts of operators before fusion are kept in the graph's metadata (`TRACED`).

    Args:
        source: the graph takes sequences of its `max_length` tokens, and shorter ones.
        fused: use onnxruntime's own operators (MultiHeadAttention, BiasGelu, SkipLayerNormalization); False: standard
            ONNX operators alone, for other runtimes.
        opset: of the standard operators; None: the exporter's own choice.

    Returns:
        inputs as the tokenizer names them, int64 (batch, sequence); outputs as the task names them: `logits` (batch,
        labels), of tokens (batch, sequence, labels), of a choice (batch, 1); `start_logits` and `end_logits` (batch,
        sequence); `embedding` (batch, width).

    Raises:
        ModelError: the exporter cannot trace the model.
        UsageError: the opset is too old for an operator of the model, or newer than the installed onnx.
    """
    if opset is not None and opset > onnx.defs.onnx_opset_version():
        raise UsageError(
            f"onnx {onnx.__version__} knows no opset {opset}.",
            hint=f"Give --opset {onnx.defs.onnx_opset_version()} or less.",
        )
    model, task = source.model, source.task
    sample = sample_inputs(source.tokenizer, source.max_length)
    config = exporter_settings(sample, source.max_length, opset)
    before = model.config._attn_implementation
    # Eager attention: the pattern of plain matrix products is the one that fuses.
    model.set_attn_implementation("eager")
    try:
        with quiet():
            # Fusion knows attention over all tokens alone; halving is put behind it.
            with one_choice(model, task), whole_length(model) if fused else contextlib.nullcontext(), spared():
                program = OnnxExporter().export(model, sample, config=config).program
            traced = Counter(node.op_type for node in program.graph)
            if fused:
                fuse_for_onnxruntime(program, "cpu")
    except Exception as error:  # torch.export raises errors of many classes
        reason = str(error).strip().splitlines()[0][:200]
        raise ModelError(
            f"the model cannot be exported to ONNX: {type(error).__name__}: {reason}",
            hint="Run again with --verbose for the exporter's own report.",
        ) from error
    finally:
        model.set_attn_implementation(before)
    graph = onnx_ir.to_proto(program)
    if opset is not None:
        check_opset(graph, opset)
    _keep_outputs(graph, task)
    if isinstance(task, SentenceEmbedding):
        rename_value(graph, task.output_names[0], "token_embedding")  # the exporter may have used the name inside
        append_pooling(graph, task, head_layers(model))
    fold_weight_joins(graph)
    if fused:
        simplify_attention(graph)
        plain_rows(graph)
        fuse_disentangled_attention(graph, longest=source.max_length)
        fuse_plain_attention(graph)
        read_first_rows(graph)
        halve_tokens(graph, halving_norms(model))
    remove_unused(graph)
    _name_axes(graph, tuple(sample), task)
    graph.metadata_props.add(key=TRACED, value=json.dumps(dict(traced.most_common())))
    if stored_bytes(graph) < LARGEST_MESSAGE:  # the checker writes it out
        _check(graph)
    return graph


def _check(graph: onnx.ModelProto) -> None:
    """Let onnx check a graph; an operator of onnxruntime's that calls itself standard is taken for what it is."""
    own = [node for node in graph.graph.node if node.op_type == "SimplifiedLayerNormalization" and not node.domain]
    try:
        for node in own:
            node.domain = MICROSOFT
        onnx.checker.check_model(graph)
    finally:
        for node in own:
            node.domain = ""


@contextlib.contextmanager
def one_choice(model: PreTrainedModel, task: Task) -> Iterator[None]:
    """Inside, a model of choices reads sequences, (batch, tokens), and scores each alone, (batch, 1)."""
    if not isinstance(task, MultipleChoice):
        yield
        return
    forward = model.forward

    @functools.wraps(forward)
    def alone(*args: Any, **inputs: Any) -> Any:
        given = {
            name: values.unsqueeze(1) if name in _READ and values is not None else values
            for name, values in inputs.items()
        }
        found = forward(*args, **given)
        found["logits"] = found["logits"].reshape(-1, 1)
        return found

    model.forward = alone
    try:
        yield
    finally:
        del model.forward


def sample_inputs(tokenizer: Any, max_length: int) -> dict[str, torch.Tensor]:
    """Two rows of unlike length: with one row the exporter would take the batch axis for a constant."""
    texts = ["one two three", "one two three four five six seven"]
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    return {name: encoded[name] for name in tokenizer.model_input_names}


def exporter_settings(sample: dict[str, torch.Tensor], max_length: int, opset: int | None = None) -> OnnxConfig:
    """Batches of any size, of sequences of 2 to `max_length` tokens; opset: None leaves it to the exporter."""
    axes = {0: torch.export.Dim(BATCH), 1: torch.export.Dim(SEQUENCE, min=2, max=max_length)}
    return OnnxConfig(dynamic=True, dynamic_shapes=dict.fromkeys(sample, axes), opset_version=opset)


def _keep_outputs(graph: onnx.ModelProto, task: Task) -> None:
    """Leave the outputs of the task, in its order; of an encoder the token vectors, which pooling reads."""
    wanted = ("last_hidden_state",) if isinstance(task, SentenceEmbedding) else task.output_names
    by_name = {value.name: value for value in graph.graph.output}
    del graph.graph.output[:]
    graph.graph.output.extend(by_name[name] for name in wanted)


def _name_axes(graph: onnx.ModelProto, inputs: tuple[str, ...], task: Task) -> None:
    """Inputs in the tokenizer's order, with axes that everyone can read; stale shape notes are dropped."""
    del graph.graph.input[:]
    graph.graph.input.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [BATCH, SEQUENCE]) for name in inputs
    )
    widths = [value.type.tensor_type.shape.dim[-1].dim_value for value in graph.graph.output]
    axes: dict[str, tuple[str, ...]] = {"token": (BATCH, SEQUENCE), "sample": (BATCH,), "position": (BATCH, SEQUENCE)}
    del graph.graph.output[:]
    for name, width in zip(task.output_names, widths, strict=True):
        shape = [*axes[task.per], *([] if task.per == "position" else [width])]
        graph.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    del graph.graph.value_info[:]
    name_by_modules(graph)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's progress and warnings off the terminal."""
    level = transformers.logging.get_verbosity()
    disabled = logging.root.manager.disable
    transformers.logging.set_verbosity(logging.ERROR)
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w", encoding="utf-8") as sink,
            contextlib.redirect_stdout(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        transformers.logging.set_verbosity(level)
