"""Sizes that no model has, and names that are no files beside their index, are refused before anything is built."""

import json

import pytest
from models import make_checkpoint

from edgelm.checkpoint import open_checkpoint
from edgelm.errors import ModelError


@pytest.fixture
def folder(tmp_path):
    return make_checkpoint(tmp_path / "m")


@pytest.mark.parametrize(
    "change",
    [
        {"num_labels": 10**9, "id2label": None},
        {"num_hidden_layers": 10**9},
        {"vocab_size": 10**12},
        {"hidden_size": -(10**9)},
        {"num_attention_heads": 10**400},
        {"text_config": {"num_hidden_layers": 10**6}},
    ],
)
def test_a_size_that_no_model_has_is_refused_by_its_name(folder, change):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=r"; no model has more than"):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["/etc/passwd", "../m/model.safetensors", "a\\b", "..", ""])
def test_an_index_that_names_another_folders_file_is_refused(folder, name):
    index = {"weight_map": {"x": name}}
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="is no file beside it"):
        open_checkpoint(folder)


def test_a_name_that_is_too_long_for_the_system_is_refused(folder):
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "a" * 5000}}))
    with pytest.raises(ModelError, match="names a file that cannot be: File name too long"):
        open_checkpoint(folder)
