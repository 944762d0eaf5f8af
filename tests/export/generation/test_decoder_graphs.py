"""Graphs of decoders, in plain onnxruntime, against transformers on the same weights."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from decoding import Decoding
from generators import DECODERS, make_generator
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from edgelm.errors import ModelError, UnsupportedFamily
from edgelm.export.generation.builder import GeneratorGraph
from edgelm.export.generation.decoder import decoder_graph
from edgelm.graph.rewrites import operator_counts, weights_of
from edgelm.quantize.blocks import BlockWeight, round_blocks
from edgelm.quantize.grid import quantize_columns

PROMPTS = ([5, 9, 11, 3, 4, 8, 7, 2, 10], [7, 8, 2], [3] * 14)  # the last is longer than Gemma's windows
NEW = 10
SUMS = 1e-4  # logits are below 20, and FP32 sums of other orders differ in the sixth digit


@functools.cache
def make_model(family: str, **entries: Any) -> Any:
    """A small random model; heads of 16 channels, the fewest that attention takes with rotary positions."""
    with tempfile.TemporaryDirectory() as folder:
        make_generator(Path(folder), family, hidden=64, **entries)
        return AutoModelForCausalLM.from_pretrained(folder).eval()


def fresh(family: str) -> Any:
    """A model that a test may change."""
    return copy.deepcopy(make_model(family))


@functools.cache
def make_graph(family: str, **options: Any) -> GeneratorGraph:
    return decoder_graph(make_model(family), **options)


@torch.no_grad()
def logits_of(model: Any, tokens: list[int]) -> np.ndarray:
    """(tokens, vocabulary): transformers' logits."""
    result: np.ndarray = model(torch.tensor([tokens])).logits[0].float().numpy()
    return result


def continuation(model: Any, prompt: list[int]) -> list[int]:
    """What transformers writes."""
    written = model.generate(
        torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return written[0, len(prompt) :].tolist()


def error_of(model: Any, prompts: Any, tokens: list[list[int]], logits: np.ndarray) -> float:
    """The largest difference of a logit from transformers', the same tokens given."""
    wanted = [
        logits_of(model, [*prompt, *written])[len(prompt) - 1 : -1]
        for prompt, written in zip(prompts, tokens, strict=True)
    ]
    return float(np.abs(logits - np.stack(wanted)).max())


@pytest.mark.parametrize("family", DECODERS)
def test_prompts_of_different_lengths_are_continued_as_transformers_does(family: str) -> None:
    model = make_model(family)

    tokens, logits = Decoding(make_graph(family), len(PROMPTS)).write(PROMPTS, NEW)

    assert tokens == [continuation(model, prompt) for prompt in PROMPTS]
    assert error_of(model, PROMPTS, tokens, logits) < SUMS


@pytest.mark.parametrize("family", DECODERS)
def test_a_cache_in_place_gives_the_same_logits(family: str) -> None:
    graph = make_graph(family)

    tokens, logits = Decoding(graph, len(PROMPTS)).write(PROMPTS, NEW)
    in_place, same = Decoding(graph, len(PROMPTS), capacity=40).write(PROMPTS, NEW)

    assert in_place == tokens
    assert np.abs(same - logits).max() < SUMS


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("capacity", [None, 40])
def test_a_text_may_come_in_pieces(family: str, capacity: int | None) -> None:
    text = [*PROMPTS[2], *PROMPTS[0]]
    decoding = Decoding(make_graph(family), capacity=capacity)

    pieces = [decoding.add([text[start:end]], [range(end - start)])[0] for start, end in ((0, 9), (9, 10), (10, 23))]

    assert np.abs(np.concatenate(pieces) - logits_of(make_model(family), text)).max() < SUMS


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("capacity", [None, 40])
def test_ragged_steps_add_as_many_tokens_to_each_text_as_it_needs(family: str, capacity: int | None) -> None:
    first, then = ([5, 9, 11, 3], [7, 8], [3] * 9), ([6, 2], [4, 9, 12, 3, 5], [8])
    decoding = Decoding(make_graph(family, ragged_steps=True), 3, capacity=capacity)

    decoding.add(first)
    logits = decoding.add(then)[:, 0]

    wanted = [logits_of(make_model(family), [*one, *two])[-1] for one, two in zip(first, then, strict=True)]
    assert np.abs(logits - np.stack(wanted)).max() < SUMS


@pytest.mark.parametrize("family", DECODERS)
def test_fp16_is_near_fp32(family: str) -> None:
    graph = decoder_graph(make_model(family), precision="fp16")

    tokens, logits = Decoding(graph, len(PROMPTS), capacity=40).write(PROMPTS, NEW)

    assert {spec.dtype for spec in graph.inputs if spec.role == "past-key"} == {"float16"}
    assert error_of(make_model(family), PROMPTS, tokens, logits) < 0.02 * np.abs(logits).max()  # ten bits


class Rounding:
    """A `Quantize` that writes what it gave into the model of PyTorch: what the graph has to compute."""

    def __init__(self, model: Any, more: tuple[str, ...] = ()) -> None:
        """Take the model, and ends of the names of modules that get 8 bits."""
        self.model, self.more = model, more

    def __call__(self, name: str, weight: np.ndarray, bits: int) -> BlockWeight:
        made = round_blocks(weight, 8 if name.endswith(self.more) else bits)
        self.write(name, made.floats())
        return made

    def write(self, name: str, floats: np.ndarray) -> None:
        """Give a module the weight (in, out)."""
        module = self.model.get_submodule(name)
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(floats if isinstance(module, Conv1D) else floats.T))


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("precision", ["int4", "int8-weights"])
def test_integers_compute_what_their_floats_compute(family: str, precision: str) -> None:
    model = fresh(family)
    rounding = Rounding(model)
    exact = decoder_graph(model, precision=precision, quantize=rounding, byte_activations=False)
    graph = decoder_graph(make_model(family), precision=precision)

    tokens, logits = Decoding(exact, 3).write(PROMPTS, 4)
    tolerance = 2e-2 if family == "gpt2" else SUMS  # its positions are stored in FP16
    assert error_of(model, PROMPTS, tokens, logits) < tolerance

    # Activations in bytes, block by block: one part in 254 of a block's largest each, in every product of a model whose
    # random weights let small differences grow.
    tokens, logits = Decoding(graph, 3).write(PROMPTS, 4)
    assert error_of(model, PROMPTS, tokens, logits) < 0.15 * np.abs(logits).max()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_projections_of_different_bits_meet_in_attention(family: str) -> None:
    model = fresh(family)
    rounding = Rounding(model, more=("v_proj",))
    graph = decoder_graph(model, precision="int4", quantize=rounding, byte_activations=False)

    tokens, logits = Decoding(graph, 3).write(PROMPTS, 4)

    assert "Concat" not in operator_counts(graph.model)
    assert error_of(model, PROMPTS, tokens, logits) < SUMS


def test_candidates_have_exact_logits_beside_a_head_of_four_bits() -> None:
    model = make_model("gemma3_text")  # whose head is its table
    options = {"precision": "fp32", "head": "int4", "byte_activations": False}

    rounded = Decoding(decoder_graph(model, **options)).add(PROMPTS[:1])[0, 0]
    logits = Decoding(decoder_graph(model, **options, candidates=16)).add(PROMPTS[:1])[0, 0]

    wanted = logits_of(model, PROMPTS[0])[-1]
    likeliest = np.argsort(-logits)[:8]
    error, rounding = (np.abs(given - wanted)[likeliest].max() for given in (logits, rounded))
    assert error < rounding / 8  # twelve bits beside four, and a margin of a bit


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_bytes_with_a_scale_a_column_compute_what_their_floats_compute(family: str) -> None:
    model = fresh(family)
    head = model.get_output_embeddings().weight
    graph = decoder_graph(model, precision="int8-dynamic", head="fp32")
    for name, module in model.named_modules():
        if isinstance(module, Conv1D | torch.nn.Linear) and module.weight is not head:
            weight = module.weight if isinstance(module, Conv1D) else module.weight.T
            Rounding(model).write(name, quantize_columns(weight.detach().numpy()).floats())

    tokens, logits = Decoding(graph, 3).write(PROMPTS, 4)

    # Activations become bytes, token rows together: one part in 127 of the largest of all, some layers on.
    assert error_of(model, PROMPTS, tokens, logits) < 0.15 * np.abs(logits).max()


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    ],
    ids=lambda scaling: scaling["rope_type"],
)
def test_scaled_rotary_positions_are_the_models_own(scaling: dict[str, Any]) -> None:
    model = make_model_with(rope_parameters=scaling | {"rope_theta": 10000.0})

    tokens, logits = Decoding(decoder_graph(model), len(PROMPTS)).write(PROMPTS, NEW)

    assert error_of(model, PROMPTS, tokens, logits) < SUMS


def make_model_with(**entries: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        make_generator(Path(folder), "llama", hidden=64, **entries)
        return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_a_rotation_that_changes_with_the_length_is_refused() -> None:
    model = make_model_with(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0})

    with pytest.raises(ModelError, match="'dynamic' change with the length"):
        decoder_graph(model)


@pytest.mark.parametrize("family", ["mistral", "qwen2"])
def test_a_sliding_window_ends_where_transformers_ends_it(family: str) -> None:
    config = copy.deepcopy(make_model(family).config)
    config.sliding_window = 5  # Mistral's layers all have it; Qwen's say it each
    config.layer_types = ["full_attention", "sliding_attention"] if family == "qwen2" else None
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()

    tokens, logits = Decoding(decoder_graph(model), len(PROMPTS)).write(PROMPTS, NEW)

    assert error_of(model, PROMPTS, tokens, logits) < SUMS


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_a_tied_table_is_stored_once(tied: bool, precision: str) -> None:
    model = make_model_with(tied=tied)
    graph = decoder_graph(model, precision=precision)
    vocabulary = model.config.vocab_size

    tables = [
        tensor.name
        for tensor in weights_of(graph.model).values()
        if vocabulary in tensor.dims and "scale" not in tensor.name
    ]

    assert len(tables) == (1 if tied else 2)


def test_heads_that_attention_does_not_take_are_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_generator(Path(folder), "llama", hidden=32, heads=4)
        model = AutoModelForCausalLM.from_pretrained(folder)

    with pytest.raises(ModelError, match=r"model.layers.0.self_attn: heads of 8 channels.*multiples of 16"):
        decoder_graph(model)


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    model = make_model_with()
    model.config.model_type = "mamba"

    with pytest.raises(UnsupportedFamily, match=r"'mamba' is not known.\nKnown decoders: gemma3_text, gpt2, llama"):
        decoder_graph(model)
