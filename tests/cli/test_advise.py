"""`edgelm advise`: which model to begin with, for texts, a device and a budget."""

import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

import edgelm.advising.advise as advising
from edgelm.advising.models import KnownModel, published_models
from edgelm.cli.main import app
from edgelm.hardware.machine import describe_machine
from edgelm.latency_table import LatencyTable
from edgelm.shapes import ModelSizes

TEXTS = ("it is too dark in here", "play some music please", "what will the weather be like in Oslo tomorrow?")
SMALL = ModelSizes(4, 64, 4, 128, 500)
LARGE = ModelSizes(8, 128, 4, 256, 500)


@pytest.fixture(autouse=True)
def two_models(monkeypatch, tmp_path):
    """Small ones, so that what is estimated is quickly counted, and no tables of this machine's user."""
    models = tuple(KnownModel(name, "bert", "English", sizes, 0.01) for name, sizes in (("s", SMALL), ("l", LARGE)))
    monkeypatch.setattr(advising, "published_models", lambda: models)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text\n" + "\n".join(TEXTS) + "\n")
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["advise", *map(str, arguments)])


def ask(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code in (0, 3), result.output
    return json.loads(result.stdout)


def test_the_one_with_the_most_weights_that_fits_stands_first(rows):
    found = ask("--data", rows, "--device", "raspberry-pi-5", "--max-latency", "1s")
    first = found["candidates"][0]
    assert (first["model"], first["precision"], first["layers"], first["verdict"]) == ("l", "int8", 8, "fits")
    assert first["latency_source"] == "estimated"
    assert first["low_ms"] < first["latency_ms"] < first["high_ms"]
    assert found["lengths"]["assumed"]


def test_what_is_too_slow_keeps_as_many_layers_as_fit(rows):
    whole = ask("--data", rows, "--device", "raspberry-pi-5", "--max-latency", "1s")["candidates"]
    full = next(entry for entry in whole if (entry["model"], entry["precision"]) == ("l", "int8"))
    asked = 0.6 * full["latency_ms"]
    found = ask("--data", rows, "--device", "raspberry-pi-5", "--max-latency", f"{asked:.6f}ms")["candidates"]
    cut = next(entry for entry in found if entry["model"] == "l" and entry["verdict"] != "does not fit")
    assert 3 <= cut["layers"] < 8
    assert cut["latency_ms"] <= asked < cut["latency_ms"] * (cut["layers"] + 2) / cut["layers"]


def test_a_table_of_the_device_is_measured_and_said_to_be(rows, tmp_path):
    table = LatencyTable("measured", "ms", SMALL, "int8", 9, 0.5, 0.1, {0: 0.0, 4: 0.2}, {0: 0.0, 128: 0.3})
    table.save(tmp_path / "table.json")
    found = ask("--data", rows, "--device", "x86-laptop", "--max-latency", "5ms", "--table", tmp_path / "table.json")
    entry = next(row for row in found["candidates"] if (row["model"], row["precision"]) == ("s", "int8"))
    assert entry["latency_ms"] == pytest.approx(0.5 + 4 * (0.1 + 0.2 + 0.3))
    assert entry["latency_source"].startswith("measured")


def test_a_table_that_was_kept_here_says_nothing_of_another_device(rows, tmp_path):
    machine = {"cpu": describe_machine().cpu}
    table = LatencyTable(
        "measured", "ms", SMALL, "int8", 9, 0.5, 0.1, {0: 0.0, 4: 0.2}, {0: 0.0, 128: 0.3}, machine=machine
    )
    (tmp_path / "cache" / "edgelm" / "latency").mkdir(parents=True)
    table.save(tmp_path / "cache" / "edgelm" / "latency" / "kept.json")
    sources = {}
    for device in ("cpu", "raspberry-pi-5"):
        found = ask("--data", rows, "--device", device, "--max-latency", "1s")["candidates"]
        sources[device] = {row["latency_source"] for row in found if (row["model"], row["precision"]) == ("s", "int8")}
    assert sources == {"cpu": {"measured"}, "raspberry-pi-5": {"estimated"}}


def test_a_folder_is_ranked_too_and_its_tokenizer_counts(rows, tmp_path):
    from models import make_checkpoint  # which imports torch

    folder = make_checkpoint(tmp_path / "mine")
    found = ask(folder, "--data", rows, "--device", "raspberry-pi-5", "--max-size", "1GB")
    assert str(folder) in {row["model"] for row in found["candidates"]}
    assert found["lengths"]["source"] == f"the tokenizer of {folder}"


def test_nothing_that_fits_ends_with_the_nearest_and_exit_code_3(rows):
    result = run("--data", rows, "--device", "raspberry-pi-5", "--max-size", "1kB")
    assert result.exit_code == 3
    assert "does not fit" in result.output


def test_people_see_what_is_assumed_estimated_and_comes_next(rows):
    result = run("--data", rows, "--device", "raspberry-pi-5", "--max-latency", "1s")
    assert result.exit_code == 0, result.output
    for words in ("1.1 tokens a word, which is assumed", "estimated", "int8 (or ", "edgelm profile l"):
        assert words in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "neither is bounded"),
        (("--max-latency", "soon"), "expected a length of time"),
    ],
)
def test_a_budget_that_says_nothing_is_refused(rows, arguments, words):
    result = run("--data", rows, "--device", "raspberry-pi-5", *arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_published_shapes_have_the_weights_that_they_are_known_for():
    """10^6 weights by the models' cards and papers, embeddings and pooler included."""
    known = {
        "google-bert/bert-base-uncased": 109.5,
        "google/bert_uncased_L-2_H-128_A-2": 4.4,
        "distilbert/distilbert-base-uncased": 66.4,
        "FacebookAI/roberta-base": 124.6,
        "answerdotai/ModernBERT-base": 149.0,
        "microsoft/MiniLM-L12-H384-uncased": 33.4,
    }
    models = {model.name: model.sizes for model in published_models()}
    for name, millions in known.items():
        sizes = models[name]
        rows = sizes.vocabulary + sizes.types + (sizes.positions if sizes.position_table else 0)
        layer = 4 * sizes.hidden**2 + sizes.ffn_matrices * sizes.hidden * sizes.ffn
        assert (rows * sizes.hidden + sizes.layers * layer) / 1e6 == pytest.approx(millions, rel=0.03), asdict(sizes)
