"""Quantization at the command line: what export says, keeps and refuses, and what inspect shows of it."""

import json

import numpy as np
import pytest
from models import TEXTS, make_checkpoint
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from edgelm.cli.main import app

WORDS = ("lights", "film", "heat", "music", "rain", "battery", "room", "story")


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize")
    make_checkpoint(folder / "model", hidden=128, ffn=256, spread=0.1)
    texts = [f"{text} {word}" for word in WORDS for text in TEXTS]
    write(folder / "texts.jsonl", [{"text": text} for text in texts])
    answers = run(
        "export",
        folder / "model",
        "--precision",
        "fp32",
        "--calibration",
        folder / "texts.jsonl",
        "--output",
        folder / "float",
    )
    assert answers.exit_code == 0, answers.output
    from edgelm.runtime import load

    model = load(folder / "float")
    write(
        folder / "labelled.jsonl", [{"text": text, "label": model(text)["label"]} for text in texts]
    )  # what the model itself answers
    return folder


@pytest.fixture(scope="module")
def quantized(files):
    table = ("--calibration-table", files / "table.json")
    result = run(
        "export", files / "model", "--calibration", files / "texts.jsonl", *table, "--output", files / "int8", "--json"
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["manifest"]


def test_a_calibration_table_gives_the_same_graph_again_without_texts(files, quantized):
    again = run(
        "export", files / "model", "--calibration-table", files / "table.json", "--output", files / "again", "--json"
    )
    assert again.exit_code == 0, again.output
    first, second = (
        json.loads((files / name / "manifest.json").read_text())["calibration"]["sites"] for name in ("int8", "again")
    )
    assert {site["site"]: site["option"] for site in first} == {site["site"]: site["option"] for site in second}


def test_inspect_shows_operators_before_and_after_and_what_was_chosen(files, quantized):
    values = json.loads(run("inspect", files / "int8", "--json").stdout)
    assert values["graph"]["traced_operators"]["Softmax"] == 2  # as PyTorch has it; fused in the file
    assert "Softmax" not in values["graph"]["operators"]
    rows = {row["name"]: row for row in values["run"]["operators"]}
    assert rows["MatMulIntegerToFloat"]["nodes"] >= 6
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    shown = run("inspect", files / "int8", "--sites").output
    assert all(site["site"] in shown for site in quantized["calibration"]["sites"])
    assert "QAttention" in shown
    assert "run" not in json.loads(run("inspect", files / "int8", "--no-run", "--json").stdout)


def test_inspect_runs_plain_graphs_too_or_says_why_not(files, quantized):
    values = json.loads(run("inspect", files / "float" / "model.onnx", "--json").stdout)
    assert sum(row["nodes"] for row in values["run"]["operators"]) > 5
    (files / "alone.onnx").write_bytes((files / "float" / "model.onnx").read_bytes())  # without its weights
    result = run("inspect", files / "alone.onnx")
    assert result.exit_code == 0
    assert "Not run here" in result.output


def test_inspect_draws_a_calibration_table(files, quantized):
    values = json.loads(run("inspect", files / "table.json", "--json").stdout)
    assert values["kind"] == "calibration"
    for row in values["activations"]:
        assert row["low"] <= row["high"]
        assert len(row["histogram"]) == 32
        assert sum(row["histogram"]) >= row["tokens"]
    assert "█" in run("inspect", files / "table.json").output
    assert run("inspect", files / "texts.jsonl").exit_code == 4


def test_a_bound_on_the_drop_holds_on_rows_that_did_not_choose(files):
    rows = ("--calibration", files / "labelled.jsonl", "--eval", files / "labelled.jsonl")
    result = run("export", files / "model", *rows, "--max-drop", 0, "--output", files / "held", "--json")
    assert result.exit_code == 0, result.output
    quality = json.loads(result.stdout)["manifest"]["quality"]
    assert quality["samples"] == len(WORDS) * len(TEXTS) // 2
    assert quality["checkpoint"]["accuracy"] == 1
    assert quality["bundle"]["accuracy"] >= 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--opset", 13], ["opset 13", "LayerNormalization", "17"]),
        (["--opset", 99], ["no opset 99"]),
        (["--max-drop", 1, "--precision", "fp32"], ["--max-drop"]),
        (["--max-drop", -1], ["-1"]),
        (["--calibration-method", "maximum"], ["maximum", "percentile"]),
        (["--rounding", "up"], ["up", "gptq"]),
        (["--rounding", "adaptive", "--precision", "int4"], ["adaptive", "gptq"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_impossible_wishes_are_refused_by_name(files, options, words):
    result = run(
        "export", files / "model", "--calibration", files / "texts.jsonl", *options, "--output", files / "none"
    )
    assert result.exit_code == 2, result.output
    assert all(word in result.stderr for word in words)
    assert not (files / "none").exists()


def test_an_older_opset_is_kept_to(files):
    made = run(
        "export",
        files / "model",
        "--precision",
        "int8",
        "--opset",
        17,
        "--calibration",
        files / "texts.jsonl",
        "--output",
        files / "o17",
        "--json",
    )
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["manifest"]["graphs"][0]["opset"] == 17


def test_texts_that_say_nothing_are_refused(files, tmp_path):
    for rows, words in (
        ([], "empty"),
        ([{"text": "too few"}] * 3, "at least 8"),
        ([{"text": "the same"}] * 40, "1 different"),
    ):
        result = run(
            "export", files / "model", "--calibration", write(tmp_path / "c.jsonl", rows), "--output", tmp_path / "b"
        )
        assert result.exit_code == 4, result.output
        assert words in result.stderr
        assert not (tmp_path / "b").exists()


def test_a_model_that_overflows_is_refused_with_the_text(files, tmp_path):
    """A weight that makes activations infinite: no range can be learnt."""
    folder = make_checkpoint(tmp_path / "m", hidden=128, ffn=256)
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.weight"][:] = np.float32(3e38)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    result = run("export", folder, "--calibration", files / "texts.jsonl", "--output", tmp_path / "b")
    assert result.exit_code == 4, result.output
    assert "finite" in result.stderr
    assert not (tmp_path / "b").exists()


def test_a_checkpoint_that_another_tool_quantized_is_refused(files, tmp_path):
    folder = make_checkpoint(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    for command in (
        ["export", folder],
        ["compress", folder, "--data", files / "labelled.jsonl", "--eval", files / "labelled.jsonl"],
    ):
        result = run(*command, "--output", tmp_path / "b")
        assert result.exit_code == 4, result.output
        assert "bitsandbytes" in result.stderr
        assert not (tmp_path / "b").exists()
