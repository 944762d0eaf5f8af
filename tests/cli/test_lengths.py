"""The longest text: models of few positions work everywhere, and what a model does not take is refused with the number
that it takes."""

import json

import pytest
from models import TEXTS, make_checkpoint
from sentence_folders import edit
from typer.testing import CliRunner

from edgelm.cli.main import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A classifier of 24 tokens, whose tokenizer spells the words that it does not know; and labelled rows, some of
    them longer."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("short")
    model = make_checkpoint(folder / "model")
    weights = load_file(model / "model.safetensors")
    name = "bert.embeddings.position_embeddings.weight"
    save_file(weights | {name: weights[name][:24].clone()}, model / "model.safetensors", metadata={"format": "pt"})
    edit(model / "config.json", max_position_embeddings=24)
    rows = [
        {"text": text * (1 + index % 3), "label": ("negative", "positive")[index % 2]}
        for index, text in enumerate(TEXTS * 2)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_model_of_24_tokens_is_exported_and_cuts_longer_texts(short):
    exported = run("export", short / "model", "--precision", "fp32", "--output", short / "b.edge")
    assert exported.exit_code == 0, exported.output
    answered = run("run", short / "b.edge", "unknown words spelled letter by letter " * 5, "--json")
    assert answered.exit_code == 0, answered.output


def test_a_model_of_24_tokens_is_trained_and_compressed_with_the_lengths_that_recipes_carry(short):
    rows = ("--data", short / "rows.jsonl", "--eval", short / "rows.jsonl")
    tuned = run("finetune", short / "model", *rows, "--output", short / "tuned", "--max-steps", 1, "--batch-size", 4)
    assert tuned.exit_code == 0, tuned.output
    smaller = run("compress", short / "model", *rows, "--recipe", "no-training", "--output", short / "smaller")
    assert smaller.exit_code == 0, smaller.output


@pytest.mark.parametrize("command", ["export", "finetune", "compress", "search", "recipe"])
def test_longer_texts_than_the_model_takes_are_refused(short, command):
    rows = ("--data", short / "rows.jsonl", "--eval", short / "rows.jsonl")
    words = {
        "export": ("export", short / "model", "--precision", "fp32", "--max-length", 25),
        "finetune": ("finetune", short / "model", *rows, "--max-length", 128),
        "compress": ("compress", short / "model", *rows, "--recipe", "no-training", "--max-length", 128),
        "search": ("search", short / "model", *rows, "--max-length", 128),
        "recipe": (
            "compress",
            short / "model",
            *rows,
            "--recipe",
            "quantization-aware",
            "--set",
            "quantize.train.max_length=25",
        ),
    }[command]
    refused = run(*words, "--output", short / "never")
    assert refused.exit_code == 2, refused.output
    assert "24" in refused.stderr and not (short / "never").exists()


def test_a_latency_table_is_refused_for_positions_that_roberta_keeps_for_padding(tmp_path):
    model = make_checkpoint(tmp_path / "model", "roberta")  # 130 rows, of which two are never a text's
    refused = run("latency-table", model, "--output", tmp_path / "t.json", "--sequence", 129)
    assert refused.exit_code == 2
    assert "128" in refused.stderr
