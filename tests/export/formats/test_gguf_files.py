"""GGUF files: what is written is what the model is, read back by the package gguf and by transformers' own reader.

That llama.cpp computes the same from them is for test_llama_cpp.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from generators import DECODERS, SENTENCES, make_generator
from models import make_checkpoint
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from edgelm.errors import ModelError, OutputExistsError, UnsupportedFamily, UsageError
from edgelm.export.formats.gguf import PRECISIONS, write_gguf
from edgelm.export.formats.gguf.pretokenizers import pretokenizer_name

# transformers takes some sizes of these from the family's published models instead of from the file.
TOLD = ("gpt2", "qwen3", "gemma3_text")


def load(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def small(folder: Path, family: str = "llama", **entries: Any) -> tuple[Any, Any]:
    return load(make_generator(folder / family, family, **entries))


def keys(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("family", DECODERS)
def test_transformers_reads_the_same_model_back(tmp_path: Path, family: str) -> None:
    model, tokenizer = small(tmp_path, family)
    path = write_gguf(model, tokenizer, tmp_path / "file" / "model.gguf", precision="f32", name="small")
    told = {"config": model.config} if family in TOLD else {}
    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, **told).eval()
    for sentence in SENTENCES[:3]:
        batch = tokenizer(sentence, return_tensors="pt")
        with torch.no_grad():
            # The same numbers; GPT-2's matrices may lie otherwise in memory, and are summed in another order then.
            torch.testing.assert_close(read(**batch).logits, model(**batch).logits, rtol=1e-3, atol=1e-3)
        options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        assert torch.equal(read.generate(**batch, **options), model.generate(**batch, **options))


@pytest.mark.parametrize("family", [family for family in DECODERS if family != "gemma3_text"])
def test_transformers_reads_the_same_tokenizer_back(tmp_path: Path, family: str) -> None:
    # Not Gemma's: transformers puts a space before texts there, whatever the file says.
    model, tokenizer = small(tmp_path, family)
    path = write_gguf(model, tokenizer, tmp_path / "file" / "model.gguf", name="small")
    read = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for sentence in SENTENCES:
        assert read(sentence)["input_ids"] == tokenizer(sentence)["input_ids"]
    assert read.chat_template == tokenizer.chat_template


@pytest.mark.parametrize("precision", PRECISIONS)
def test_matrices_have_the_precision_asked_for(tmp_path: Path, precision: str) -> None:
    model, tokenizer = small(tmp_path)
    path = write_gguf(model, tokenizer, tmp_path / "model.gguf", precision=precision, head=precision)
    found = tensors(path)
    assert found["output_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    kind = gguf.GGMLQuantizationType[precision.upper()]
    for name, own in {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.1.attn_v.weight": "model.layers.1.self_attn.v_proj.weight",
        "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
    }.items():
        weights = model.state_dict()[own].numpy()
        read = gguf.quants.dequantize(found[name].data, found[name].tensor_type)
        assert found[name].tensor_type == kind
        np.testing.assert_array_equal(read, gguf.quants.dequantize(gguf.quants.quantize(weights, kind), kind))
        # At most one step of the largest value of the block, whichever way each format rounds, and a rounded scale.
        bits = {"f32": 24, "f16": 11, "bf16": 8}.get(precision) or int(precision[1]) - 1
        step = 1.01 * 2.0**-bits
        blocks = np.abs(weights).reshape(-1, 32).max(axis=1, keepdims=True)
        assert (np.abs(read - weights).reshape(-1, 32) <= step * blocks).all()


def test_a_head_of_few_bits_is_kept_at_eight(tmp_path: Path) -> None:
    model, tokenizer = small(tmp_path)
    kinds = {
        name: tensor.tensor_type.name
        for name, tensor in tensors(write_gguf(model, tokenizer, tmp_path / "a.gguf", precision="q4_0")).items()
    }
    assert (kinds["token_embd.weight"], kinds["blk.0.attn_q.weight"]) == ("Q8_0", "Q4_0")
    path = write_gguf(model, tokenizer, tmp_path / "b.gguf", precision="int4", head="f16")
    assert tensors(path)["token_embd.weight"].tensor_type.name == "F16"


def test_a_tied_head_is_stored_once_and_one_of_its_own_is_kept(tmp_path: Path) -> None:
    tied = tensors(write_gguf(*small(tmp_path, tied=True), tmp_path / "tied.gguf"))
    own = tensors(write_gguf(*small(tmp_path / "own", tied=False), tmp_path / "own.gguf"))
    assert set(own) - set(tied) == {"output.weight"}


def test_rows_that_are_no_whole_blocks_stay_halves(tmp_path: Path) -> None:
    path = write_gguf(*small(tmp_path, hidden=40), tmp_path / "model.gguf", precision="q4_0")
    kinds = {name: tensor.tensor_type.name for name, tensor in tensors(path).items()}
    assert kinds["blk.0.attn_q.weight"] == "F16"  # rows of 40
    assert kinds["blk.0.ffn_down.weight"] == "Q4_0"  # rows of 64


def test_settings_and_marks_are_in_the_file(tmp_path: Path) -> None:
    model, tokenizer = small(tmp_path, "gemma3_text")
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    found = keys(write_gguf(model, tokenizer, tmp_path / "model.gguf", precision="q8_0", name="Small Gemma"))
    assert found["general.architecture"] == "gemma3"
    assert found["general.name"] == "Small Gemma"
    assert found["gemma3.context_length"] == 128
    assert found["gemma3.attention.head_count_kv"] == 2
    assert found["gemma3.attention.sliding_window"] == 6
    assert found["gemma3.attention.sliding_window_pattern"] == [True, False]
    assert found["gemma3.rope.freq_base_swa"] == pytest.approx(
        model.config.rope_parameters["sliding_attention"]["rope_theta"]
    )
    tokens = found["tokenizer.ggml.tokens"]
    assert tokens[found["tokenizer.ggml.eos_token_id"]] == "<eos>"
    assert tokens[found["tokenizer.ggml.eot_token_id"]] == "<end_of_turn>"
    assert found["tokenizer.ggml.add_bos_token"] and not found["tokenizer.ggml.add_eos_token"]
    assert found["tokenizer.chat_template"] == tokenizer.chat_template
    assert len(tokens) == found["gemma3.vocab_size"] == model.config.vocab_size


def test_a_window_that_llama_cpp_has_not_ends_the_context(tmp_path: Path) -> None:
    # Within a window every token sees all tokens before it, and llama.cpp computes the same.
    model, tokenizer = small(tmp_path, "mistral")
    model.config.sliding_window = 48
    found = keys(write_gguf(model, tokenizer, tmp_path / "model.gguf"))
    assert found["llama.context_length"] == 48


def test_rows_without_a_token_are_unused_tokens(tmp_path: Path) -> None:
    model, tokenizer = small(tmp_path)
    model.resize_token_embeddings(len(tokenizer) + 3, mean_resizing=False)
    found = keys(write_gguf(model, tokenizer, tmp_path / "model.gguf"))
    assert found["tokenizer.ggml.token_type"][-4:] == [1, 5, 5, 5]


LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
LLAMA3 += r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def test_ways_to_cut_words_have_llama_cpps_names() -> None:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    for way, whole, name in (
        (plain, False, "gpt-2"),
        (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain]), False, "smollm"),
        (pre_tokenizers.Sequence([split, bare]), True, "llama-bpe"),
        (pre_tokenizers.Sequence([split, bare]), False, "smaug-bpe"),
    ):
        made = Tokenizer(models.BPE(ignore_merges=whole))
        made.pre_tokenizer = way
        assert pretokenizer_name(json.loads(made.to_str()), "model") == name
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(ModelError, match="how the tokenizer cuts words"):
        pretokenizer_name(json.loads(made.to_str()), "model")


def test_architectures_without_a_gguf_are_refused_by_name(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "bert", "bert", kind="fill-mask")
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with pytest.raises(UnsupportedFamily, match=r"'bert'[\s\S]*gemma3_text, gpt2, llama, mistral, qwen2, qwen3"):
        write_gguf(model, tokenizer, tmp_path / "model.gguf")


def test_what_llama_cpp_would_compute_otherwise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    model, tokenizer = small(tmp_path)

    def refused(match: str, family: str = "llama", **entries: Any) -> None:
        changed, own = small(tmp_path / "changed", family)
        for name, value in entries.items():
            setattr(changed.config, name, value)
        with pytest.raises(ModelError, match=match):
            write_gguf(changed, own, path)

    refused("rotary positions of the kind 'dynamic'", rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4})
    refused("rotary positions of the kind 'llama3'", "qwen2", rope_parameters={"rope_type": "llama3"})
    refused("turns whole heads", rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": 0.5})
    refused("the activation 'relu'", hidden_act="relu")
    refused("attention scaled by layer", "gpt2", scale_attn_by_inverse_layer_idx=True)
    refused("queries scaled by another size", "gemma3_text", query_pre_attn_scalar=5)
    with pytest.raises(ModelError, match=r"no model\.layers\.0\.self_attn\.q_proj\.bias"):
        write_gguf(*small(tmp_path / "biased", "qwen3", attention_bias=True), path)
    with pytest.raises(UsageError, match="no precision 'q3_k'"):
        write_gguf(model, tokenizer, path, precision="q3_k")
    assert not path.exists()


def test_tokenizers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    model, tokenizer = small(tmp_path)
    tokenizer.add_tokens(["a new token"])
    with pytest.raises(ModelError, match=r"the token \d+ \('a new token'\), the model \d+ rows"):
        write_gguf(model, tokenizer, path)
    _, unigram = AutoModel.from_pretrained, AutoTokenizer.from_pretrained(make_generator(tmp_path / "t5", "t5"))
    with pytest.raises(ModelError, match="a tokenizer of the kind Unigram"):
        write_gguf(model, unigram, path)
    model, tokenizer = small(tmp_path)
    tokenizer.eos_token = None
    model.generation_config.eos_token_id = None
    with pytest.raises(ModelError, match="which token ends a text"):
        write_gguf(model, tokenizer, path)
    assert not path.exists()


def test_merges_that_sentencepiece_would_not_make_are_refused(tmp_path: Path) -> None:
    # Trained merges make each token in one way; llama.cpp would join any two neighbours that are a token together.
    from tokenizers import Tokenizer, models, normalizers, trainers

    model, _ = small(tmp_path, "mistral")
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "</s>"], show_progress=False)
    made.train_from_iterator([word for sentence in SENTENCES for word in sentence.split()] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="</s>")
    with pytest.raises(ModelError, match=r"\d+ of \d+ tokens have parts that the tokenizer does not merge"):
        write_gguf(model, tokenizer, tmp_path / "model.gguf")


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path: Path) -> None:
    model, tokenizer = small(tmp_path)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = 1e6
    folder = tmp_path / "out"
    with pytest.raises(ModelError, match=r"F16 cannot hold blk\.1\.ffn_down\.weight"):
        write_gguf(model, tokenizer, folder / "model.gguf", precision="f16")
    assert not list(folder.iterdir())
    path = write_gguf(model, tokenizer, folder / "model.gguf", precision="bf16")
    with pytest.raises(OutputExistsError):
        write_gguf(model, tokenizer, path)
