"""A GGUF file is taken where a model folder is: the same weights, tokens, template and end."""

import json

import gguf
import numpy as np
import pytest
import torch
from generators import SENTENCES, make_generator
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from edgelm.anatomy import find_checkpoint, load_checkpoint, load_tokenizer, save_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.finetune import finetune
from edgelm.data.dataset import Dataset
from edgelm.errors import ModelError
from edgelm.export.formats.gguf import write_gguf
from edgelm.model_folder.gguf import quickly_read
from edgelm.training_settings import TrainSettings

FAMILIES = {
    "gpt2": "gpt2",
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}  # as llama.cpp has it


def written(folder, family, precision="f32", **options):
    """The file, and the folder that it is made of."""
    made = make_generator(folder / "m", family, hidden=64, ffn=128, **options)
    checkpoint = open_checkpoint(made)
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    return write_gguf(model, tokenizer, folder / "files" / f"m-{precision}.gguf", precision=precision), made


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_is_the_model_that_it_was_written_of(tmp_path, family):
    (tmp_path / "files").mkdir()
    file, folder = written(tmp_path, family)
    checkpoint, original = open_checkpoint(file), open_checkpoint(folder)
    assert (checkpoint.family, checkpoint.task.context) == (FAMILIES[family], 128)
    assert checkpoint.task.settings.eos_ids == original.task.settings.eos_ids
    assert checkpoint.task.chat_template == original.task.chat_template
    model, expected = load_checkpoint(checkpoint), load_checkpoint(original)
    ids = torch.tensor([load_tokenizer(original)(SENTENCES[0])["input_ids"]])
    with torch.no_grad():
        # The file keeps what is added to variances in FP32, which moves the last bits.
        torch.testing.assert_close(model(ids).logits, expected(ids).logits, rtol=1e-4, atol=1e-4)
    assert model.get_output_embeddings().weight.shape == expected.get_output_embeddings().weight.shape
    assert open_checkpoint(file.parent).path == file


def test_a_file_is_saved_and_trained_as_a_folder(tmp_path, capsys):
    (tmp_path / "files").mkdir()
    file, folder = written(tmp_path, "qwen2", "q8_0")
    checkpoint = find_checkpoint(file)
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    assert "GGUF" not in capsys.readouterr().err  # transformers' bar
    assert tokenizer(SENTENCES[0])["input_ids"] == load_tokenizer(open_checkpoint(folder))(SENTENCES[0])["input_ids"]
    assert tokenizer.model_max_length == 128
    save_checkpoint(tmp_path / "saved", model, tokenizer, checkpoint.record)
    again = open_checkpoint(tmp_path / "saved")
    assert again.task == checkpoint.task
    assert all(torch.equal(own, load_checkpoint(again).get_parameter(name)) for name, own in model.named_parameters())
    rows = Dataset("memory", SENTENCES, schema="prompts")
    settings = TrainSettings(max_steps=2, batch_size=4, max_length=32)
    result = finetune(
        file, dataset=rows, evaluation=rows, output=tmp_path / "t", kind="text-generation", settings=settings
    )
    assert json.loads((result.path / "config.json").read_text())["architectures"] == ["Qwen2ForCausalLM"]


def test_a_file_that_cannot_be_taken_is_refused(tmp_path):
    (tmp_path / "files").mkdir()
    file, _ = written(tmp_path, "gpt2")
    whole = file.read_bytes()
    (tmp_path / "no.gguf").write_bytes(b"GGML" + whole[4:])
    with pytest.raises(ModelError, match="not a GGUF file"):
        open_checkpoint(tmp_path / "no.gguf")
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 4])
    with pytest.raises(ModelError, match=r"cut\.gguf"):
        load_checkpoint(tmp_path / "cut.gguf")
    (tmp_path / "other.gguf").write_bytes(whole.replace(b"gpt2", b"nope"))
    with pytest.raises(ModelError, match=r"cannot be read: .*nope"):
        open_checkpoint(tmp_path / "other.gguf")
    (file.parent / "second.gguf").write_bytes(whole)
    with pytest.raises(ModelError, match="several GGUF files"):
        open_checkpoint(file.parent)


@pytest.mark.parametrize("weights", [True, False])
def test_a_file_without_its_vocabulary_is_the_same_model(tmp_path, weights):
    (tmp_path / "files").mkdir()
    file, _ = written(tmp_path, "qwen3", "q8_0")
    config = {**load_gguf_checkpoint(str(file))["config"]}
    with quickly_read(file, weights=weights) as slim:
        read, whole = gguf.GGUFReader(slim), gguf.GGUFReader(file)
        assert read.fields.keys() | {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"} == (
            whole.fields.keys() | {"qwen3.vocab_size"}
        )
        assert load_gguf_checkpoint(str(slim))["config"] == config
        for own, other in zip(read.tensors, whole.tensors, strict=True):
            assert (own.name, own.tensor_type, own.shape.tolist()) == (
                other.name,
                other.tensor_type,
                other.shape.tolist(),
            )
            assert np.array_equal(own.data, other.data if weights else 0 * other.data)
    assert not slim.exists()


def test_a_file_that_says_its_number_of_tokens_by_the_list_alone_is_read_whole(tmp_path):
    (tmp_path / "files").mkdir()
    file, _ = written(tmp_path, "gpt2")
    with quickly_read(file) as given:
        assert given == file


@pytest.mark.parametrize("place", [24, 40, 60])
def test_a_header_that_says_more_than_the_file_holds_is_refused_before_room_is_made_for_it(tmp_path, place):
    (tmp_path / "files").mkdir()
    file, _ = written(tmp_path, "qwen3")
    broken = tmp_path / "broken.gguf"
    whole = file.read_bytes()
    broken.write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
    with pytest.raises(ModelError, match="its header is damaged"):
        open_checkpoint(broken)
