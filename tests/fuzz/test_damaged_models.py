"""Model folders and files that are damaged in any place: what is looked at before a model is loaded."""

import json
import struct

import numpy as np
import pytest
from fuzzing import damaged_bytes, damaged_json, hold, inputs
from hypothesis import given
from hypothesis import strategies as st

from edgelm.checkpoint import Record, open_checkpoint
from edgelm.tasks.text import TextClassification

pytestmark = pytest.mark.fuzz
BERT = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 4,
    "vocab_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
    "id2label": {"0": "bad", "1": "good"},
    "label2id": {"bad": 0, "good": 1},
    "hidden_act": "gelu",
    "problem_type": "single_label_classification",
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4,
    "vocab_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "eos_token_id": 1,
    "bos_token_id": 0,
}
SETTINGS = {"max_new_tokens": 8, "eos_token_id": [1], "do_sample": True, "temperature": 0.5, "num_beams": 2, "top_k": 5}
SETTINGS |= {"bad_words_ids": [[0]], "forced_bos_token_id": None, "length_penalty": 1.0}
NAMES = {"classifier.weight": [2, 4], "classifier.bias": [2], "bert.embeddings.word_embeddings.weight": [8, 4]}


def safetensors(names):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, shape in names.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += bytes(size)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(safetensors(NAMES))
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    return tmp_path


def hammer(request, folder, name, strategy, share):
    @inputs(request, share)
    @given(data=strategy, any_head=st.booleans())
    def strike(data, any_head):
        (folder / name).write_bytes(data)
        hold(lambda: open_checkpoint(folder, any_head=any_head))

    strike()


@pytest.mark.parametrize("config", [BERT, LLAMA], ids=["reads", "writes"])
def test_a_config(folder, request, config):
    hammer(request, folder, "config.json", damaged_json(config), 0.75)


def test_settings_of_writing(folder, request):
    (folder / "config.json").write_text(json.dumps(LLAMA))
    hammer(request, folder, "generation_config.json", damaged_json(SETTINGS), 0.5)


def test_a_header_of_safetensors(folder, request):
    whole = safetensors(NAMES)
    (length,) = struct.unpack("<Q", whole[:8])

    def joined(header):
        return struct.pack("<Q", len(header)) + header + whole[8 + length :]

    headers = damaged_json(json.loads(whole[8 : 8 + length])).map(joined)
    hammer(request, folder, "model.safetensors", st.one_of(damaged_bytes(whole), headers), 1)


def test_an_index_of_weights(folder, request):
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(NAMES, "a.safetensors")}
    hammer(request, folder, "model.safetensors.index.json", damaged_json(index), 0.5)


def test_a_record(folder, request):
    Record(TextClassification(labels=("bad", "good")), source="x").write(folder)
    values = json.loads((folder / "edgelm.json").read_text())
    hammer(request, folder, "edgelm.json", damaged_json(values), 0.75)


SENTENCE = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ],
    "config_sentence_transformers.json": {"prompts": {"query": "q: "}, "default_prompt_name": None, "truncate_dim": 2},
    "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False},
    "1_Pooling/config.json": {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True},
}


@pytest.mark.parametrize("name", SENTENCE)
def test_a_folder_of_sentence_transformers(folder, request, name):
    (folder / "1_Pooling").mkdir()
    for each, values in SENTENCE.items():
        (folder / each).write_text(json.dumps(values))
    hammer(request, folder, name, damaged_json(SENTENCE[name]), 0.2)


def test_an_adapter(folder, request, tmp_path):
    (folder / "a").mkdir()
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(folder),
        "r": 2,
        "lora_alpha": 4,
        "task_type": "SEQ_CLS",
    }
    settings |= {"target_modules": ["query"], "modules_to_save": ["classifier"], "bias": "none"}
    (folder / "a" / "adapter_model.safetensors").write_bytes(safetensors({"x": [1]}))
    hammer(request, folder / "a", "adapter_config.json", damaged_json(settings), 0.25)


def test_a_header_of_gguf(tmp_path, request):
    pytest.importorskip("gguf")
    from generators import make_generator

    from edgelm.anatomy import load_checkpoint, load_tokenizer
    from edgelm.export.formats.gguf import write_gguf

    made = open_checkpoint(make_generator(tmp_path / "model", "llama", hidden=64, ffn=128))
    file = write_gguf(load_checkpoint(made), load_tokenizer(made), tmp_path / "whole.gguf", precision="f32")
    whole = file.read_bytes()
    place = 2000  # more damage in the first bytes, which say how many of everything there is

    @inputs(request, 0.25)
    @given(data=st.one_of(damaged_bytes(whole), damaged_bytes(whole[:place]).map(lambda head: head + whole[place:])))
    def strike(data):
        (tmp_path / "damaged.gguf").write_bytes(data)
        hold(lambda: open_checkpoint(tmp_path / "damaged.gguf"))

    strike()
