"""llama.cpp itself reads the GGUF files that are written, and computes what transformers computes.

Slow, and skipped where EDGELM_LLAMA_CPP names no folder with llama.cpp's libraries; benchmarks/llama_cpp.py says which.
All with one thread and without flash attention, which rounds to F16 on the way.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generators import DECODERS, SENTENCES, make_generator
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from edgelm.export.formats.gguf import PRECISIONS, write_gguf

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))
from llama_cpp import VARIABLE, Library, LlamaCpp

pytestmark = pytest.mark.slow
# Letters of many scripts, digits, contractions, blanks of each kind: where ways to cut words differ.
HARD = (
    "It's 3 o'clock, WE'LL see; I'VE 1234567 apples & 3.14159 pies",
    "Überraschung im Café: façade, naïve, ½ kg — 100€",
    "line one\n\n\n  line two\t\tand   more   \n",
    "привет, мир! 你好世界 🎉🎉 مرحبا",
    "x=[1,2,3];y={'a':None}  # comment",
)
GELU = 0.005  # llama.cpp looks GELU up in a table of F16 values


@pytest.fixture(scope="module")
def library() -> Library:
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no folder with llama.cpp's libraries")
    return Library()


def small(folder: Path, family: str, **entries: Any) -> tuple[Any, Any]:
    kinds = entries.pop("kinds", None)
    path = make_generator(folder / family, family, hidden=64, **entries)
    told = {"layer_types": kinds} if kinds else {}
    return AutoModelForCausalLM.from_pretrained(path, **told).eval(), AutoTokenizer.from_pretrained(path)


def opened(path: Path, library: Library) -> LlamaCpp:
    return LlamaCpp(path, context=128, threads=1, cache="f32", flash=False, every_row=True, library=library)


def logits_of(model: Any, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(torch.tensor([ids])).logits[0])


def greedy_of(model: Any, ids: list[int], count: int) -> list[int]:
    given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with torch.no_grad():
        return list(model.generate(**given, max_new_tokens=count, **options)[0, len(ids) :].tolist())


@pytest.mark.parametrize("family", DECODERS)
def test_greedy_tokens_are_those_of_transformers(tmp_path: Path, library: Library, family: str) -> None:
    model, tokenizer = small(tmp_path, family)
    path = write_gguf(model, tokenizer, tmp_path / "model.gguf", precision="f32")
    with opened(path, library) as engine:
        assert engine.size == model.config.vocab_size
        assert engine.chat_template() == (tokenizer.chat_template or "")
        for sentence in (*SENTENCES, *HARD):
            ids = tokenizer(sentence)["input_ids"]
            assert engine.tokens(sentence) == ids
            ids = ids[:100]
            assert engine.greedy(ids, 20) == greedy_of(model, ids, 20)


LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 32}
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "rope_theta": 500.0, "original_max_position_embeddings": 32}
LLAMA3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("family", "entries"),
    [
        ("llama", {"rope_parameters": LINEAR}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("llama", {"rope_parameters": YARN}),
        ("llama", {"rope_parameters": YARN | {"attention_factor": 1.5}}),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {"head_dim": 32, "tied": False}),
        ("qwen3", {"rope_parameters": YARN}),
        ("gpt2", {"tied": False}),
        ("gemma3_text", {"final_logit_softcapping": 1.5}),
        ("gemma3_text", {"kinds": ["full_attention"] * 2}),
        ("gemma3_text", {"kinds": ["sliding_attention"] * 2}),
        (
            "gemma3_text",
            {
                "rope_parameters": {
                    "full_attention": LINEAR | {"factor": 8.0, "rope_theta": 1e6},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                }
            },
        ),
    ],
)
def test_settings_are_computed_as_they_are_meant(
    tmp_path: Path, library: Library, family: str, entries: dict[str, Any]
) -> None:
    model, tokenizer = small(tmp_path, family, **entries)
    path = write_gguf(model, tokenizer, tmp_path / "model.gguf", precision="f32")
    ids = tokenizer(" ".join(SENTENCES))["input_ids"][:100]
    with opened(path, library) as engine:
        expected = logits_of(model, ids)
        allowed = GELU if family in ("gpt2", "gemma3_text") else 2e-4  # sums of F32 in another order
        assert np.abs(engine.step(ids, every=True) - expected).max() < allowed


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if name != "f32"])
def test_every_precision_is_read(tmp_path: Path, library: Library, precision: str) -> None:
    model, tokenizer = small(tmp_path, "llama")
    path = write_gguf(model, tokenizer, tmp_path / "file" / "model.gguf", precision=precision, name="small")
    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name).eval()  # the rounded weights, in FP32
    ids = tokenizer(SENTENCES[2])["input_ids"]
    with opened(path, library) as engine:
        found, expected = engine.step(ids, every=True), logits_of(read, ids)
    # llama.cpp rounds activations too: to 8 bits in blocks of 32, or to the floats that the weights have. Random layers
    # make much of it; weights that were read wrongly would make it 1.4.
    assert np.linalg.norm(found - expected) < 0.15 * np.linalg.norm(expected)


def cut(expression: str | None, *, digits: bool = False, whole: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer trained on the texts below that cuts words by an expression, or as GPT-2."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(ignore_merges=whole))
    steps = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if expression is not None:
        steps.append(pre_tokenizers.Split(Regex(expression), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=expression is None))
    made.pre_tokenizer = pre_tokenizers.Sequence(steps)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=460, initial_alphabet=alphabet, special_tokens=["<|end|>"])
    made.train_from_iterator([*SENTENCES, *HARD] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>")


WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("gpt-2", {"expression": None}),
        ("smollm", {"expression": None, "digits": True}),
        ("qwen2", {"expression": WORDS + r"\p{N}" + REST}),
        ("llama-bpe", {"expression": WORDS + r"\p{N}{1,3}" + REST, "whole": True}),
        ("smaug-bpe", {"expression": WORDS + r"\p{N}{1,3}" + REST}),
    ],
)
def test_texts_are_cut_into_the_same_tokens(tmp_path: Path, library: Library, name: str, made: dict[str, Any]) -> None:
    model, _ = small(tmp_path, "llama")
    tokenizer = cut(**made)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    with opened(write_gguf(model, tokenizer, tmp_path / "model.gguf"), library) as engine:
        for text in (*SENTENCES, *HARD, "a <|end|> b", ""):
            assert engine.tokens(text) == tokenizer(text)["input_ids"], name


def test_a_real_model_writes_the_same_text(tmp_path: Path, library: Library) -> None:
    folder = Path(os.environ.get("EDGELM_MODELS", "missing")) / "smollm2"
    if not folder.is_dir():
        pytest.skip("EDGELM_MODELS names no folder with smollm2 (SmolLM2-135M-Instruct as a Hugging Face folder)")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    path = write_gguf(model, tokenizer, tmp_path / "model.gguf", precision="f32")
    with opened(path, library) as engine:
        for text in (*SENTENCES[:3], *HARD):
            assert engine.tokens(text) == tokenizer(text)["input_ids"]
        for prompt in ("The capital of France is", "Write a poem about rain."):
            ids = tokenizer(prompt)["input_ids"]
            assert engine.greedy(ids, 24) == greedy_of(model, ids, 24)
