"""A compressed checkpoint, whose layers have shapes of their own, is loaded by transformers and sentence-transformers
alone."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from models import ANATOMIES, TEXTS, make_checkpoint
from safetensors.torch import load_file

import edgelm.anatomy
from edgelm.anatomy import keep_layers, load_checkpoint, load_tokenizer, model_layers, model_outputs, save_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import ModelError
from edgelm.model_folder.own_code import OWN_MODULES

CLASSIFIER, ENCODER = "text-classification", "sentence-embedding"


@pytest.fixture(autouse=True)
def own_module_cache(tmp_path, monkeypatch):
    """Code that comes with models is copied here, and not into the home of whoever runs the tests."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))


def save_cut(folder, family="bert", *, kind=CLASSIFIER):
    """Three layers of four: one narrower, one without its feed-forward network, one without its attention."""
    checkpoint = open_checkpoint(make_checkpoint(folder / "full", family, layers=4, kind=kind))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    keep_layers(model, [0, 1, 3])
    first, second, third = model_layers(model)
    first.cut(heads=[0, 3], ffn=range(40))
    second.cut(heads=[1, 2, 3], ffn=[])
    third.cut(heads=[], ffn=range(8, 64))
    save_checkpoint(folder / "cut", model, tokenizer, checkpoint.record)
    return folder / "cut"


def inputs_of(folder):
    return dict(load_tokenizer(folder)(list(TEXTS), padding=True, return_tensors="pt"))


def load_plain(folder, auto):
    model, report = auto.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    assert not any(report.values()), report  # nothing missing, left over or of another shape
    return model.eval()


@pytest.mark.parametrize("family", ANATOMIES)
def test_transformers_computes_what_edgelm_computes(tmp_path, family):
    folder = save_cut(tmp_path, family)
    checkpoint, inputs = open_checkpoint(folder), inputs_of(folder)
    with torch.inference_mode():
        expected, _ = model_outputs(load_checkpoint(checkpoint), checkpoint.task, inputs)
        found = load_plain(folder, transformers.AutoModelForSequenceClassification)(**inputs).logits
    # the same float32 operations, but for the kernel that attention may take
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ANATOMIES)
def test_whole_layers_that_went_need_no_more_than_that(tmp_path, family):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "full", family, layers=3))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    keep_layers(model, [1, 2])  # what is the first layer now was not the first: some families have it otherwise
    save_checkpoint(tmp_path / "cut", model, tokenizer, checkpoint.record)
    inputs = inputs_of(tmp_path / "cut")
    with torch.inference_mode():
        expected = load_checkpoint(tmp_path / "cut")(**inputs).logits
        found = load_plain(tmp_path / "cut", transformers.AutoModelForSequenceClassification)(**inputs).logits
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_the_encoder_alone_too_and_what_it_saves_loads_again(tmp_path, family):
    folder = save_cut(tmp_path, family, kind=ENCODER)
    inputs = inputs_of(folder)
    with torch.inference_mode():
        expected = load_checkpoint(folder)(**inputs).last_hidden_state
        model = load_plain(folder, transformers.AutoModel)
        found = model(**inputs).last_hidden_state
        model.save_pretrained(tmp_path / "again")
        again = load_plain(tmp_path / "again", transformers.AutoModel)(**inputs).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(again, found, atol=0, rtol=0)


def test_the_encoder_of_a_classifier(tmp_path):
    folder = save_cut(tmp_path, "roberta")
    inputs = inputs_of(folder)
    with torch.inference_mode():
        expected = load_checkpoint(folder).base_model(**inputs).last_hidden_state
        found = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)(**inputs).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_sentence_transformers_gives_the_vectors_of_edgelm(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="the package is not installed")
    folder = save_cut(tmp_path, kind=ENCODER)
    checkpoint = open_checkpoint(folder)
    with torch.inference_mode():
        expected, _ = model_outputs(load_checkpoint(checkpoint), checkpoint.task, inputs_of(folder))
        model = sentence_transformers.SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
        found = model.encode(list(TEXTS), convert_to_tensor=True)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_it_needs_no_edgelm(tmp_path):
    folder = save_cut(tmp_path)
    program = (
        "import sys, torch; sys.modules['edgelm'] = None\n"
        "from transformers import AutoModelForSequenceClassification as Auto, AutoTokenizer\n"
        f"model = Auto.from_pretrained({str(folder)!r}, trust_remote_code=True)\n"
        f"batch = AutoTokenizer.from_pretrained({str(folder)!r})({TEXTS[0]!r}, return_tensors='pt')\n"
        "print(model(**batch).logits.tolist())\n"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "other"), "HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert len(json.loads(ran.stdout)[0]) == 2


def test_a_checkpoint_of_even_layers_brings_no_code(tmp_path):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "full"))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    save_checkpoint(tmp_path / "same", model, tokenizer, checkpoint.record)
    config = json.loads((tmp_path / "same" / "config.json").read_text())
    assert not {"auto_map", "edgelm_layers"} & config.keys()
    assert not list((tmp_path / "same").glob("*.py"))
    assert "trust_remote_code" not in (tmp_path / "same" / "README.md").read_text()


def test_the_card_says_how_it_is_loaded(tmp_path):
    card = (save_cut(tmp_path) / "README.md").read_text()
    assert 'AutoModelForSequenceClassification.from_pretrained("this folder", trust_remote_code=True)' in card
    assert "load_checkpoint" in card


def test_edgelm_reads_its_own_module_and_refuses_one_that_was_changed(tmp_path):
    folder = save_cut(tmp_path)
    load_checkpoint(folder)
    with (folder / "modeling_edgelm.py").open("a") as file:
        file.write("print('hello')\n")
    with pytest.raises(ModelError, match="auto_map"):
        open_checkpoint(folder)


@pytest.mark.parametrize("named", ["other.Model", "org/name--modeling_edgelm.BertModel", "modeling_edgelm_2.Model"])
def test_another_module_beside_it_is_refused(tmp_path, named):
    folder = save_cut(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoModel"] = named
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="auto_map"):
        open_checkpoint(folder)


def test_edgelm_never_runs_the_module_of_a_folder(tmp_path, monkeypatch):
    folder = save_cut(tmp_path)

    def refuse(*_, **__):
        raise AssertionError("code of the folder was asked for")

    monkeypatch.setattr(transformers.dynamic_module_utils, "get_class_in_module", refuse)
    load_checkpoint(folder)


def test_cut_again_it_says_the_new_shapes(tmp_path):
    checkpoint = open_checkpoint(save_cut(tmp_path))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    model_layers(model)[0].cut(heads=[0], ffn=range(8))
    save_checkpoint(tmp_path / "again", model, tokenizer, checkpoint.record)
    inputs = inputs_of(tmp_path / "again")
    with torch.inference_mode():
        found = load_plain(tmp_path / "again", transformers.AutoModelForSequenceClassification)(**inputs).logits
        torch.testing.assert_close(found, model(**inputs).logits, atol=1e-6, rtol=1e-5)
    saved = load_file(tmp_path / "again" / "model.safetensors")
    assert saved["bert.encoder.layer.0.intermediate.dense.weight"].shape[0] == 8


def test_the_module_that_is_written_is_one_that_is_known():
    """Whoever changes the module adds its hash; those of versions that were released stay."""
    file = Path(edgelm.anatomy.__file__).with_name("modeling_edgelm.py")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == OWN_MODULES[-1]
