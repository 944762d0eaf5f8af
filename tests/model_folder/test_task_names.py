"""Tasks under the names that Optimum and other tools have for them."""

import json

import pytest
from models import make_checkpoint
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.model_folder.task_names import kind_of_name, task_of_class


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("causal-lm", "text-generation"),
        ("masked-lm", "fill-mask"),
        ("sequence-classification", "text-classification"),
        ("feature-extraction", "sentence-embedding"),
        ("translation", "translation"),  # edgelm's own names stay, though Optimum has wider ones for them
        ("seq2seq-lm", "seq2seq-lm"),  # translation or summarization: not for us to say
        ("no-such-task", "no-such-task"),
        (None, None),
    ],
)
def test_other_names_of_a_task_mean_it(name, kind):
    assert kind_of_name(name) == kind


def test_a_task_can_be_given_by_the_name_that_optimum_has_for_it(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    result = CliRunner().invoke(
        app, ["export", str(folder), "--task", "causal-lm", "--output", str(tmp_path / "out"), "--device", "cpu"]
    )
    assert result.exit_code == 4
    assert "For text-generation give a generator" in " ".join(result.stderr.split())


def test_a_head_that_is_not_taken_is_told_by_its_purpose(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertLMHeadModel"]}))
    result = CliRunner().invoke(app, ["inspect", str(folder)])
    assert result.exit_code == 4
    assert "a BertLMHeadModel, for text-generation, a head that edgelm does not take" in " ".join(result.stderr.split())


def test_a_class_without_a_task_has_none():
    assert task_of_class("BertForNextSentencePrediction") is None
    assert task_of_class("NoSuchModel") is None
    assert task_of_class("ViTForImageClassification") == "image-classification"
