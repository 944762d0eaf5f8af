"""onnxruntime-genai: its folder holds the decoder graph's own computation, and its engine writes the same tokens.

The engine's tests are slow, and skipped where EDGELM_GENAI_PYTHON names no interpreter that has it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from generators import DECODERS, SENTENCES, make_generator
from transformers import AutoModelForCausalLM, AutoTokenizer

from edgelm.errors import ModelError, OutputExistsError
from edgelm.export.formats.genai import CONFIG_FILE, GRAPH_FILE, WEIGHTS_FILE, genai_graph, genai_settings, write_genai
from edgelm.export.generation.decoder import decoder_graph
from edgelm.graph.external_data import save_graphs

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))
from genai import VARIABLE, Genai


def small(folder: Path, family: str = "llama", **entries: Any) -> tuple[Any, Any]:
    path = make_generator(folder / family, family, hidden=64, **entries)
    return AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)


def start(graph: Path, ids: list[int], **more: np.ndarray) -> np.ndarray:
    """Logits of a graph for a prompt, from an empty cache."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    length = len(ids)
    feed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, length), np.int64)} | more
    for value in session.get_inputs():
        if value.name == "position_ids":
            feed[value.name] = np.arange(length)[None]
        elif value.name.startswith("past"):
            feed[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
    return np.asarray(session.run(["logits"], feed)[0])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_its_graph_gives_the_decoder_graphs_logits_and_shares_its_weights(tmp_path: Path, family: str) -> None:
    model, tokenizer = small(tmp_path, family)
    graph = decoder_graph(model).model
    save_graphs({"decoder.onnx": graph}, tmp_path, "alone.bin")
    save_graphs({"decoder.onnx": graph, GRAPH_FILE: genai_graph(graph)}, tmp_path, WEIGHTS_FILE)
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == (tmp_path / "alone.bin").read_bytes()
    ids = tokenizer(SENTENCES[0])["input_ids"]
    expected = start(tmp_path / "decoder.onnx", ids, logit_positions=np.arange(len(ids))[None])
    # onnxruntime fuses the two in its own ways.
    np.testing.assert_allclose(start(tmp_path / GRAPH_FILE, ids), expected, rtol=1e-5, atol=1e-5)


def test_its_folder_holds_all_that_it_reads(tmp_path: Path) -> None:
    model, tokenizer = small(tmp_path, "gemma3_text")
    folder = write_genai(decoder_graph(model).model, model, tokenizer, tmp_path / "folder", length=64)
    found = {path.name for path in folder.iterdir()}
    assert found >= {CONFIG_FILE, GRAPH_FILE, WEIGHTS_FILE, "tokenizer.json", "tokenizer_config.json"}
    settings = json.loads((folder / CONFIG_FILE).read_text())
    assert settings["search"]["max_length"] == 64
    decoder = settings["model"]["decoder"]
    assert (decoder["num_key_value_heads"], decoder["head_size"], decoder["num_hidden_layers"]) == (2, 16, 2)
    inputs = {value.name for value in onnx.load(folder / GRAPH_FILE, load_external_data=False).graph.input}
    assert inputs == {"input_ids", "attention_mask"} | {
        decoder["inputs"][f"past_{part}_names"] % layer for part in ("key", "value") for layer in range(2)
    }


def test_what_it_cannot_have_is_refused(tmp_path: Path) -> None:
    model, tokenizer = small(tmp_path)
    graph = decoder_graph(model).model
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"a folder without a genai_config\.json"):
        write_genai(graph, model, tokenizer, folder, overwrite=True)
    tokenizer.eos_token = None
    model.generation_config.eos_token_id = None
    with pytest.raises(ModelError, match="which token ends a text"):
        genai_settings(graph, model, tokenizer)
    model.config.model_type = "mamba"
    with pytest.raises(ModelError, match="no architecture 'mamba'"):
        genai_settings(graph, model, tokenizer)


def opened(folder: Path, **options: Any) -> Genai:
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no interpreter that has onnxruntime-genai")
    return Genai(folder, threads=1, **options)


def greedy_of(model: Any, ids: list[int], count: int) -> list[int]:
    given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    with torch.no_grad():
        return list(model.generate(**given, max_new_tokens=count, do_sample=False)[0, len(ids) :].tolist())


@pytest.mark.slow
@pytest.mark.parametrize("family", DECODERS)
def test_greedy_tokens_are_those_of_transformers(tmp_path: Path, family: str) -> None:
    model, tokenizer = small(tmp_path, family)
    folder = write_genai(decoder_graph(model).model, model, tokenizer, tmp_path / "folder")
    with opened(folder, context=128) as engine:
        for sentence in SENTENCES:
            ids = tokenizer(sentence)["input_ids"]
            assert engine.tokens(sentence) == ids
            assert engine.greedy(ids, 20) == greedy_of(model, ids, 20)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8-weights", "int4"])
def test_few_bits_give_the_tokens_of_the_decoder_graph(tmp_path: Path, precision: str) -> None:
    model, tokenizer = small(tmp_path)
    model.generation_config.eos_token_id = len(tokenizer) - 1  # no end within the few tokens below
    graph = decoder_graph(model, precision=precision).model
    save_graphs({"decoder.onnx": graph}, tmp_path, WEIGHTS_FILE)
    folder = write_genai(graph, model, tokenizer, tmp_path / "folder")
    with opened(folder, context=128) as engine:
        for sentence in SENTENCES[:4]:
            ids = tokenizer(sentence)["input_ids"]
            written = engine.greedy(ids, 8)
            for at, token in enumerate(written):
                last = np.array([[len(ids) + at - 1]])
                logits = start(tmp_path / "decoder.onnx", ids + written[:at], logit_positions=last)[0, 0]
                # Sums of a prompt and of single tokens come in another order: equal but where two logits nearly are.
                assert logits[token] > logits.max() - 1e-3


@pytest.mark.slow
def test_a_real_model_writes_the_same_text(tmp_path: Path) -> None:
    source = Path(os.environ.get("EDGELM_MODELS", "missing")) / "smollm2"
    if not source.is_dir():
        pytest.skip("EDGELM_MODELS names no folder with smollm2 (SmolLM2-135M-Instruct as a Hugging Face folder)")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(source).eval(), AutoTokenizer.from_pretrained(source)
    folder = write_genai(decoder_graph(model).model, model, tokenizer, tmp_path / "folder")
    with opened(folder) as engine:
        for prompt in ("The capital of France is", "Write a poem about rain."):
            ids = tokenizer(prompt)["input_ids"]
            assert engine.tokens(prompt) == ids
            assert engine.greedy(ids, 24) == greedy_of(model, ids, 24)
