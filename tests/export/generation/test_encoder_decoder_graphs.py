"""Graphs of encoder-decoders against transformers on the same weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from generators import ENCODER_DECODERS, make_generator
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from edgelm.errors import UnsupportedFamily
from edgelm.export.generation.builder import GeneratorGraph
from edgelm.export.generation.encoder_decoder import encoder_decoder_graphs
from edgelm.graph.external_data import save_graphs, stored_bytes
from edgelm.graph.session import make_plain_session
from edgelm.quantize.blocks import BlockWeight, round_blocks

STEPS = 16


def open_model(folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    return model


@pytest.fixture(scope="module", params=ENCODER_DECODERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    return open_model(make_generator(tmp_path_factory.mktemp(request.param), request.param))


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    return open_model(make_generator(tmp_path_factory.mktemp("t5"), "t5"))


def sources_of(model: PreTrainedModel, rows: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Random sources of 2 to 24 tokens, padded on the right, and their mask."""
    draw = np.random.default_rng(1)
    lengths = np.array([24, 2, *draw.integers(2, 24, rows - 2)])
    mask = (np.arange(24) < lengths[:, None]).astype(np.int64)
    pad = model.generation_config.pad_token_id
    return np.where(mask, draw.integers(4, model.config.vocab_size - 1, mask.shape), pad), mask


class Graphs:
    """Runs both graphs; the cache grows, as tensors of their own."""

    def __init__(self, graphs: dict[str, GeneratorGraph]) -> None:
        self.encoder = make_plain_session(graphs["encoder"].model)
        self.decoder = make_plain_session(graphs["decoder"].model)
        self.specs = graphs["decoder"]
        self.names = [spec.name for spec in self.specs.outputs]

    def encode(self, ids: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        names = [output.name for output in self.encoder.get_outputs()]
        found = self.encoder.run(names, {"input_ids": ids, "attention_mask": mask})
        return dict(zip(names, found, strict=True)) | {"encoder_attention_mask": mask}

    def empty(self, rows: int, length: int = 0) -> dict[str, np.ndarray]:
        return {
            spec.name: np.zeros((rows, spec.shape[1], length, spec.shape[3]), spec.dtype)
            for spec in self.specs.inputs
            if spec.role in ("past-key", "past-value")
        }

    def call(self, memory: dict, past: dict, ids: np.ndarray, mask: np.ndarray, rows: np.ndarray) -> tuple:
        """Logits, and the cache for the next call."""
        feeds = {"input_ids": ids, "attention_mask": mask, "logit_positions": rows}
        if any(spec.role == "positions" for spec in self.specs.inputs):
            before = np.maximum(mask.sum(axis=1, keepdims=True) - ids.shape[1], 0)
            feeds["position_ids"] = before + np.arange(ids.shape[1])
        logits, *present = self.decoder.run(self.names, {**feeds, **memory, **past})
        return logits, dict(zip(past, present, strict=True))

    def greedy(self, ids: np.ndarray, mask: np.ndarray, settings: Any) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (rows, STEPS + 1) and logits (STEPS, rows, vocabulary), never ending early."""
        rows = len(ids)
        memory, past = self.encode(ids, mask), self.empty(rows)
        tokens, seen = [np.full(rows, settings.decoder_start_token_id)], []
        for step in range(STEPS):
            whole, first = np.ones((rows, step + 1), np.int64), np.zeros((rows, 1), np.int64)
            logits, past = self.call(memory, past, tokens[-1][:, None], whole, first)
            seen.append(logits[:, 0])
            tokens.append(logits[:, 0].argmax(axis=-1))
        return np.stack(tokens, axis=1), np.stack(seen)


@pytest.fixture(scope="module")
def graphs(model: PreTrainedModel) -> Graphs:
    """In FP32."""
    return Graphs(encoder_decoder_graphs(model))


def transformers_greedy(model: PreTrainedModel, ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `generate` writes when nothing but the logits decides."""
    kept = model.generation_config
    names = ("pad_token_id", "decoder_start_token_id")
    model.generation_config = GenerationConfig(**{name: getattr(kept, name) for name in names})
    found = model.generate(
        input_ids=torch.tensor(ids),
        attention_mask=torch.tensor(mask),
        max_new_tokens=STEPS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    model.generation_config = kept
    return found.sequences.numpy(), torch.stack(found.logits).numpy()


def test_greedy_tokens_of_a_ragged_batch_are_those_of_transformers(model: PreTrainedModel, graphs: Graphs) -> None:
    ids, mask = sources_of(model)

    tokens, logits = graphs.greedy(ids, mask, model.generation_config)

    wanted, wanted_logits = transformers_greedy(model, ids, mask)
    assert len(set(map(tuple, wanted.tolist()))) > 4  # the sources do matter
    np.testing.assert_array_equal(tokens, wanted)
    assert np.abs(logits - wanted_logits).max() < 1e-4  # FP32 in another order of sums; logits reach 40


def test_padding_of_the_source_changes_nothing(model: PreTrainedModel, graphs: Graphs) -> None:
    ids, mask = sources_of(model)
    length = int(mask[1].sum())

    _, together = graphs.greedy(ids, mask, model.generation_config)
    _, alone = graphs.greedy(ids[1:2, :length], mask[1:2, :length], model.generation_config)

    assert np.abs(together[:, 1] - alone[:, 0]).max() < 1e-4  # another order of sums


def test_a_first_call_of_several_tokens_a_row_equals_steps(model: PreTrainedModel, graphs: Graphs) -> None:
    """Rows that begin with 3 and 5 tokens and end with one more each, against transformers without a cache."""
    ids, mask = sources_of(model, rows=2)
    begun = np.random.default_rng(2).integers(4, model.config.vocab_size - 1, (2, 6))
    lengths = np.array([3, 5])
    memory = graphs.encode(ids, mask)
    filled = (np.arange(5) < lengths[:, None]).astype(np.int64)

    first, past = graphs.call(memory, graphs.empty(2, 8), begun[:, :5], filled, np.array([[0, 2], [1, 4]]))
    following = np.take_along_axis(begun, lengths[:, None], axis=1)
    longer = (np.arange(6) < lengths[:, None] + 1).astype(np.int64)
    second, _ = graphs.call(memory, past, following, longer, np.zeros((2, 1), np.int64))

    with torch.no_grad():
        inputs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        wanted = model(**inputs, decoder_input_ids=torch.tensor(begun)).logits.numpy()
    for row, places in enumerate(([0, 2], [1, 4])):
        assert np.abs(first[row] - wanted[row, places]).max() < 1e-4
        assert np.abs(second[row, 0] - wanted[row, lengths[row]]).max() < 1e-4


def test_a_cache_in_place_equals_one_that_grows(model: PreTrainedModel, graphs: Graphs) -> None:
    ids, mask = sources_of(model)
    tokens, logits = graphs.greedy(ids, mask, model.generation_config)

    binding = graphs.decoder.io_binding()
    binding.bind_output("logits")
    for name, values in graphs.encode(ids, mask).items():
        binding.bind_cpu_input(name, values)
    binding.bind_cpu_input("logit_positions", np.zeros((len(ids), 1), np.int64))
    for name, values in graphs.empty(len(ids), STEPS).items():
        buffer = onnxruntime.OrtValue.ortvalue_from_numpy(values)
        binding.bind_ortvalue_input(name, buffer)
        binding.bind_ortvalue_output(name.replace("past_key_values", "present"), buffer)
    for step in range(STEPS):
        binding.bind_cpu_input("input_ids", np.ascontiguousarray(tokens[:, step, None]))
        binding.bind_cpu_input("attention_mask", np.ones((len(ids), step + 1), np.int64))
        if "position_ids" in {spec.name for spec in graphs.specs.inputs}:
            binding.bind_cpu_input("position_ids", np.full((len(ids), 1), step))
        graphs.decoder.run_with_iobinding(binding)
        found = binding.get_outputs()[0].numpy()
        assert np.abs(found[:, 0] - logits[step]).max() < 1e-5  # the same sums


def test_rows_of_one_source_share_its_keys_and_values(model: PreTrainedModel, graphs: Graphs) -> None:
    """Three beams for each of two sources, against the same with every source given three times."""
    ids, mask = sources_of(model, rows=2)
    begun = np.random.default_rng(3).integers(4, model.config.vocab_size - 1, (6, 1))
    one, first = np.ones((6, 1), np.int64), np.zeros((6, 1), np.int64)

    shared, _ = graphs.call(graphs.encode(ids, mask), graphs.empty(6), begun, one, first)
    repeated = graphs.encode(ids.repeat(3, axis=0), mask.repeat(3, axis=0))
    apart, _ = graphs.call(repeated, graphs.empty(6), begun, one, first)

    assert np.abs(shared - apart).max() < 1e-4  # another order of sums


@pytest.mark.parametrize("precision", ["fp32", "int8-weights"])
def test_both_graphs_share_one_table_in_one_file(model: PreTrainedModel, tmp_path: Path, precision: str) -> None:
    graphs = {name: graph.model for name, graph in encoder_decoder_graphs(model, precision=precision).items()}

    save_graphs({f"{name}.onnx": graph for name, graph in graphs.items()}, tmp_path, "weights.bin")

    size, table = (tmp_path / "weights.bin").stat().st_size, model.get_input_embeddings().weight.numel()
    least = table * (4 if precision == "fp32" else 1)  # what would be there twice
    assert size < sum(map(stored_bytes, graphs.values())) - least * 0.9
    for name in graphs:
        onnxruntime.InferenceSession(tmp_path / f"{name}.onnx", providers=["CPUExecutionProvider"])


def test_weights_in_bytes_compute_the_model_with_rounded_weights(model: PreTrainedModel) -> None:
    made: dict[str, BlockWeight] = {}

    def remember(name: str, weight: np.ndarray, bits: int) -> BlockWeight:
        made[name] = round_blocks(weight, bits)
        return made[name]

    ids, mask = sources_of(model)
    graphs = Graphs(encoder_decoder_graphs(model, precision="int8-weights", candidates=0, quantize=remember))
    begun = np.full((len(ids), 1), model.generation_config.decoder_start_token_id)
    one, first = np.ones_like(begun), np.zeros_like(begun)
    found, _ = graphs.call(graphs.encode(ids, mask), graphs.empty(len(ids)), begun, one, first)

    def logits() -> np.ndarray:
        with torch.no_grad():
            inputs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
            result: np.ndarray = model(**inputs, decoder_input_ids=torch.tensor(begun)).logits.numpy()
        return result

    exact = logits()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for name, weight in made.items():
            model.get_parameter(f"{name}.weight").copy_(torch.tensor(weight.floats().T))
    rounded = logits()
    model.load_state_dict(state)
    # The kernel takes activations by blocks as bytes too: each product errs by one part in 200 of what it gives, as
    # rounding the weights does; the random model is worse than trained ones, where sums are longer.
    scale = np.abs(exact).max()
    assert np.abs(rounded - exact).max() > 0
    assert np.abs(found - rounded).mean() < 0.02 * scale


def test_half_precision_computes_what_fp32_does(t5: PreTrainedModel) -> None:
    ids, mask = sources_of(t5)
    begun = np.zeros((len(ids), 1), np.int64)
    found = []
    for precision in ("fp32", "fp16"):
        graphs = Graphs(encoder_decoder_graphs(t5, precision=precision))
        found.append(graphs.call(graphs.encode(ids, mask), graphs.empty(len(ids)), begun, begun + 1, begun)[0])
    assert found[1].dtype == np.float32
    assert np.abs(found[1] - found[0]).max() < 2e-2 * np.abs(found[0]).max()  # ten bits, through two stacks


def test_an_unknown_family_is_refused(t5: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t5.config, "model_type", "pegasus_x")
    with pytest.raises(UnsupportedFamily, match=r"encoder-decoder of type 'pegasus_x' .* not known"):
        encoder_decoder_graphs(t5)


@pytest.mark.slow
def test_a_real_t5_writes_what_transformers_writes() -> None:
    folder = Path(os.environ.get("EDGELM_MODELS", "missing")) / "flan-t5-small-titler"
    if not folder.is_dir():
        pytest.skip("EDGELM_MODELS names no folder with flan-t5-small-titler (a T5ForConditionalGeneration)")
    model, tokenizer = open_model(folder), AutoTokenizer.from_pretrained(folder)
    texts = ["translate English to German: The house is small and has a garden.", "What is the capital of France?"]
    batch = tokenizer([*texts, "a dull, lifeless movie with no story at all"], return_tensors="np", padding=True)
    ids, mask = batch["input_ids"], batch["attention_mask"]

    tokens, logits = Graphs(encoder_decoder_graphs(model)).greedy(ids, mask, model.generation_config)

    wanted, wanted_logits = transformers_greedy(model, ids, mask)
    np.testing.assert_array_equal(tokens, wanted)
    assert np.abs(logits - wanted_logits).max() < 1e-3  # of logits up to 60, through 16 layers
