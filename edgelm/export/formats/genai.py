"""onnxruntime-genai: its configuration, and the graph of a decoder as it takes it.

Its runtime binds the inputs by the names that edgelm's decoder graph has, but for one: it asks for the logits of all
tokens that it gives, and has no input that says which. The graph for it answers that from the number of tokens; all
else, and every constant, is that of the decoder graph, so the two share one file of weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgelm.errors import ModelError
from edgelm.files.output import staged_output
from edgelm.files.output_kinds import GENAI
from edgelm.graph.external_data import copy_graph, save_graph
from edgelm.graph.rewrites import add_weight

CONFIG_FILE, GRAPH_FILE, WEIGHTS_FILE = "genai_config.json", "genai.onnx", "weights.bin"
_IDS, _ROWS = "input_ids", "logit_positions"
_LENGTH = 2048
# Its names are those of transformers, but its gpt2 has keys and values in one tensor; "decoder" is any.
_TYPES = {name: name for name in ("gemma3_text", "llama", "mistral", "qwen2", "qwen3")} | {"gpt2": "decoder"}


def write_genai(
    decoder: onnx.ModelProto,
    model: Any,
    tokenizer: Any,
    folder: str | Path,
    *,
    length: int = _LENGTH,
    overwrite: bool = False,
) -> Path:
    """Write a folder that `onnxruntime_genai.Model` opens.

    Args:
        decoder: a graph of `edgelm.export.generation.decoder`.
        model: the transformers model that it was made of, for its settings.
        tokenizer: its tokenizer.
        length: positions of the cache unless a generator is told otherwise; it is allocated as a whole.
        overwrite: replace such a folder that is there.

    Returns:
        The folder.

    Raises:
        ModelError: as `genai_settings`.
        UsageError: nothing can be written there.
    """
    folder = Path(folder)
    settings = genai_settings(decoder, model, tokenizer, length=length)
    with staged_output(folder, overwrite=overwrite, kind=GENAI) as made:
        made.mkdir()
        tokenizer.save_pretrained(made)
        save_graph(genai_graph(decoder), made / GRAPH_FILE, WEIGHTS_FILE)
        (made / CONFIG_FILE).write_text(json.dumps(settings, indent=2) + "\n")
    return folder


def genai_graph(decoder: onnx.ModelProto) -> onnx.ModelProto:
    """A decoder graph that gives the logits of every token it reads; `save_graphs` stores its constants with those of
    the graph it was made of, once."""
    graph = copy_graph(decoder)
    inputs = {value.name: value for value in graph.graph.input}
    graph.graph.input.remove(inputs[_ROWS])
    names = [f"{_ROWS}.{part}" for part in ("zero", "one", "last", "shape", "count", "range")]
    zero, one, last, shape, count, places = names
    for name, values in ((zero, np.int64(0)), (one, np.int64(1)), (last, np.int64(1))):
        add_weight(graph, name, values)
    nodes = [
        helper.make_node("Shape", [_IDS], [shape], name=shape),
        helper.make_node("Gather", [shape, last], [count], name=count),
        helper.make_node("Range", [zero, count, one], [places], name=places),
        helper.make_node("Expand", [places, shape], [_ROWS], name=_ROWS),
    ]
    for node in reversed(nodes):
        graph.graph.node.insert(0, node)
    for value in graph.graph.output:
        if value.name == "logits":
            value.type.tensor_type.shape.dim[1].dim_param = "sequence"
    return graph


def genai_settings(
    decoder: onnx.ModelProto, model: Any, tokenizer: Any, *, length: int = _LENGTH, file: str = GRAPH_FILE
) -> dict[str, Any]:
    """What genai_config.json says.

    Args:
        decoder: the decoder graph, for the names and sizes of its inputs.
        model: for its configuration and generation settings.
        tokenizer: for marks that the model's settings leave out.
        length: as in `write_genai`.
        file: name of the graph's file.

    Raises:
        ModelError: an architecture that onnxruntime-genai has no name for, layers of different sizes, or no token that
            ends a text.
    """
    config, generation = model.config, model.generation_config
    if config.model_type not in _TYPES:
        raise ModelError(
            f"onnxruntime-genai is given no architecture {config.model_type!r}.", hint=f"One of {', '.join(_TYPES)}."
        )
    by_layer = list(_cache_sizes(decoder))
    if len(by_layer) != 2 * config.num_hidden_layers:
        raise ModelError("onnxruntime-genai has keys and values in every layer, and a layer here has no attention.")
    sizes = set(by_layer)
    if len(sizes) != 1:
        raise ModelError("onnxruntime-genai has one size of keys and values; the model's layers have several.")
    ((kv_heads, head_size),) = sizes
    end = generation.eos_token_id if generation.eos_token_id is not None else tokenizer.eos_token_id
    if end is None:
        raise ModelError("neither the tokenizer nor the model says which token ends a text (eos).")
    first_end = end if isinstance(end, int) else end[0]
    pad = next((each for each in (tokenizer.pad_token_id, generation.pad_token_id) if each is not None), first_end)
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else first_end
    given = [value.name for value in decoder.graph.input]
    inputs = {name: name for name in (_IDS, "attention_mask", "position_ids") if name in given}
    return {
        "model": {
            "type": _TYPES[config.model_type],
            "bos_token_id": begin,
            "eos_token_id": end,
            "pad_token_id": pad,
            "vocab_size": model.get_output_embeddings().weight.shape[0],
            "context_length": config.max_position_embeddings,
            "decoder": {
                "filename": file,
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "hidden_size": config.hidden_size,
                "head_size": head_size,
                "num_attention_heads": config.num_attention_heads,
                "num_key_value_heads": kv_heads,
                "num_hidden_layers": config.num_hidden_layers,
                "inputs": inputs | {f"past_{part}_names": f"past_key_values.%d.{part}" for part in ("key", "value")},
                "outputs": {"logits": "logits"}
                | {f"present_{part}_names": f"present.%d.{part}" for part in ("key", "value")},
            },
        },
        "search": {
            "max_length": min(length, config.max_position_embeddings),
            "past_present_share_buffer": True,
            "num_beams": 1,
            "do_sample": bool(generation.do_sample),
            "temperature": _told(generation.temperature, 1.0),
            "top_k": int(_told(generation.top_k, 50)),
            "top_p": _told(generation.top_p, 1.0),
            "repetition_penalty": _told(generation.repetition_penalty, 1.0),
        },
    }


def _told(value: float | None, usual: float) -> float:
    return usual if value is None else value


def _cache_sizes(decoder: onnx.ModelProto) -> Iterator[tuple[int, int]]:
    """Heads of each layer's keys, and their size."""
    for value in decoder.graph.input:
        if value.name.startswith("past_key_values."):
            dimensions = value.type.tensor_type.shape.dim
            yield dimensions[1].dim_value, dimensions[3].dim_value
