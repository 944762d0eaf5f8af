"""What a user types wrong, or gives wrong, at the command line: one clear error, its exit code, nothing written."""

import json

import pytest
import torch
from bundles import make_bundle
from models import TEXTS, make_checkpoint
from safetensors.torch import load_file
from typer.testing import CliRunner

from edgelm.cli.main import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path):
    make_checkpoint(tmp_path / "model")
    for name, labels in (("rows", ("negative", "positive")), ("one", ("positive", "positive"))):
        rows = [{"text": text, "label": labels[index % 2]} for index, text in enumerate(TEXTS * 2)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_device_without_the_precision_is_refused_with_those_that_it_has(files):
    result = run(
        "export",
        files / "model",
        "--device",
        "jetson-xavier-nx",
        "--precision",
        "int8-dynamic",
        "--output",
        files / "b",
    )
    assert result.exit_code == 2
    assert "int8-dynamic" in result.stderr
    assert "fp16" in result.stderr
    assert not (files / "b").exists()


@pytest.mark.parametrize("kind", ["question-answering", "multiple-choice"])
def test_a_graph_for_one_sequence_is_refused_where_a_sample_has_several(tmp_path, kind):
    folder = make_checkpoint(tmp_path / "m", kind=kind)
    result = run("export", folder, "--single", "--precision", "fp32", "--output", tmp_path / "b")
    assert result.exit_code == 2
    assert f"{kind} reads several for one sample" in result.stderr
    assert "Leave --single out" in result.stderr
    assert not (tmp_path / "b").exists()


def test_a_pickle_is_refused_until_it_is_allowed(files):
    torch.save(load_file(files / "model" / "model.safetensors"), files / "model" / "pytorch_model.bin")
    (files / "model" / "model.safetensors").unlink()
    command = ["export", files / "model", "--precision", "fp32", "--output", files / "b"]
    refused = run(*command)
    assert refused.exit_code == 4
    assert "--allow-pickle" in refused.stderr
    assert not (files / "b").exists()
    allowed = run(*command, "--allow-pickle")
    assert allowed.exit_code == 0, allowed.output


@pytest.mark.parametrize("command", ["finetune", "compress", "export"])
def test_an_unsupported_family_is_refused_with_the_supported_ones(files, command):
    config = json.loads((files / "model" / "config.json").read_text()) | {
        "model_type": "gpt_neox",
        "architectures": ["GPTNeoXForSequenceClassification"],
    }
    (files / "model" / "config.json").write_text(json.dumps(config))
    rows = [] if command == "export" else ["--data", files / "rows.jsonl", "--eval", files / "rows.jsonl"]
    result = run(command, files / "model", *rows, "--output", files / "out")
    assert result.exit_code == 4, result.output
    assert "gpt_neox" in result.stderr
    assert "distilbert" in result.stderr
    assert not (files / "out").exists()


def test_one_class_only_cannot_be_learnt(files):
    result = run(
        "finetune",
        files / "model",
        "--data",
        files / "one.jsonl",
        "--eval",
        files / "rows.jsonl",
        "--output",
        files / "out",
    )
    assert result.exit_code == 4
    assert "two classes" in result.stderr


@pytest.mark.parametrize("text", ["", "a very good film " * 6000])
def test_texts_of_no_and_of_a_hundred_thousand_characters_are_answered(tmp_path, text):
    result = run("run", make_bundle(tmp_path / "b"), text, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["label"] in ("negative", "positive")


@pytest.mark.parametrize("text", ["", "a very good film " * 6000])
def test_such_texts_among_the_training_rows_are_learnt_from(files, text):
    rows = [
        {"text": words, "label": ["negative", "positive"][index % 2]}
        for index, words in enumerate((*TEXTS, text, "good"))
    ]
    (files / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--data", files / "rows.jsonl", "--eval", files / "rows.jsonl", "--max-steps", 3, "--batch-size", 4]
    result = run("finetune", files / "model", *arguments, "--output", files / "out")
    assert result.exit_code == 0, result.output
