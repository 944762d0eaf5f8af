"""Budgets as a user writes them, and what comes of them on the command line."""

import json
from dataclasses import replace

import pytest
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

import edgelm
from edgelm import export, load_device
from edgelm.anatomy.sizes import sizes_of
from edgelm.budget import Budget, parse_factor, parse_megabytes
from edgelm.budgeting.footprint import estimate, size_table
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.cost.roofline import load_constants
from edgelm.errors import EXIT_BUDGET, EXIT_DONE, EXIT_USAGE, InputError, UsageError
from edgelm.latency_table import LatencyTable, count_operations, read_latency_table
from edgelm.quantize.settings import Quantization
from edgelm.shapes import ModelSizes

SIZES = ModelSizes(layers=2, hidden=32, heads=4, ffn=64, vocabulary=100)


@pytest.mark.parametrize(("text", "wanted"), [("10MB", 10.0), ("900kB", 0.9), ("1GiB", 1073.741824), ("5", 5.0)])
def test_sizes(text, wanted):
    assert parse_megabytes(text, "--max-size") == pytest.approx(wanted)


def test_factors():
    assert parse_factor("12.5x") == 12.5


def test_bounds_that_nothing_meets_are_refused():
    with pytest.raises(UsageError, match="--max-latency"):
        Budget(max_latency_ms=0.0)
    for impossible in (-1.0, float("nan")):
        with pytest.raises(UsageError, match="--max-drop"):
            Budget(max_drop=impossible)
    assert not Budget()
    assert Budget(max_drop=0.0)


def test_a_table_survives_its_file_and_interpolates(tmp_path):
    table = LatencyTable(
        "measured",
        "ms",
        SIZES,
        "int8",
        16,
        1.0,
        0.5,
        {0: 0.0, 2: 4.0, 4: 6.0},
        {0: 0.0, 64: 8.0},
        pytorch=30.0,
        whole=29.0,
        error=0.01,
    )
    table.save(tmp_path / "t.json")
    again = read_latency_table(tmp_path / "t.json")
    assert again == table
    assert [again.module_cost("attention", heads) for heads in (0, 1, 3, 4)] == [0.0, 2.0, 5.0, 6.0]
    assert again.predict(SIZES.full()) == 1.0 + 2 * (0.5 + 6.0 + 8.0)
    assert again.predict(SIZES.full()[:1]) == 1.0 + 0.5 + 6.0 + 8.0
    assert again.layer_cost(0, 64) == 8.5
    assert again.layer_cost(0, 0) == 0.0  # such a layer is left out


@pytest.mark.parametrize("content", ["", "{}", '{"edgelm_latency": 99}', "[1]"])
def test_what_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(InputError, match="not a latency table"):
        read_latency_table(tmp_path / "t.json")
    with pytest.raises(InputError, match="no latency table there"):
        read_latency_table(tmp_path / "missing.json")


def test_operations_are_those_of_kwon():
    """One head of 8 on 10 tokens and width 32: 4·10·32·8 + 2·100·8; one channel: 2·10·32."""
    table = count_operations(SIZES, 10)
    assert table.module_cost("attention", 1) == pytest.approx((4 * 10 * 32 * 8 + 2 * 100 * 8) / 1e6)
    assert table.module_cost("ffn", 1) == pytest.approx(2 * 10 * 32 / 1e6)


def test_a_device_without_figures_is_measured_or_nothing():
    with pytest.raises(UsageError, match="no published figures"):
        estimate(load_device("cpu"), SIZES, "int8", 16)
    table = estimate(load_device("jetson-orin-nano"), replace(SIZES, hidden=768, heads=12, ffn=3072), "int8", 128)
    assert table.source == "estimated"
    assert table.module_cost("ffn", 3072) > table.module_cost("ffn", 1024) > table.module_cost("ffn", 0) == 0.0


@pytest.mark.parametrize(
    ("device", "precision", "bits", "ffn"),
    [
        ("cpu", "fp32", None, 512),
        ("cpu", "int8", 8, 512),
        ("cpu", "int8", 4, 512),
        pytest.param("cpu", "int8", 4, 48, id="matrices too small for integers"),
        ("jetson-orin-nano", "fp16", None, 512),
        pytest.param("jetson-orin-nano", "int8", None, 512, id="embeddings in FP16", marks=pytest.mark.slow),
        pytest.param("jetson-orin-nano", "int8", None, 48, id="matrices too small for integers in FP16"),
    ],
)
def test_a_bundle_weighs_what_it_was_said_to(tmp_path, device, precision, bits, ffn):
    folder = make_checkpoint(tmp_path / "m", hidden=256, heads=4, ffn=ffn, layers=2 if ffn > 48 else 3, spread=0.02)
    quantization = Quantization("minmax", embedding_bits=bits, samples=8)  # ranges weigh nothing
    target = load_device(device)
    made = export(
        folder, output=tmp_path / "b.edge", device=target, precision=precision, quantization=quantization, engine=False
    )
    tokenizer_mb = (made.path / "tokenizer.json").stat().st_size / 1e6
    checkpoint = open_checkpoint(folder)
    said = size_table(
        sizes_of(checkpoint.config, task=checkpoint.task),
        precision,
        target,
        tokenizer_mb=tokenizer_mb,
        embedding_bits=bits or 8,
    )
    assert said.predict(said.sizes.full()) == pytest.approx(
        made.size_mb, rel=0.01, abs=0.08
    )  # names and the graph's structure, of fewer nodes than usual


@pytest.fixture
def files(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": index % 2}) + "\n" for index, text in enumerate(TEXTS))
    )
    (tmp_path / "labels.json").write_text('["negative", "positive"]')
    recipe = "name: cut\nstages:\n  - {stage: fit, tries: 2, samples: 8, judged: 8, multiple: 16}\n"
    (tmp_path / "cut.yaml").write_text(recipe)
    return tmp_path


def run(files, model, *options):
    rows = str(files / "rows.jsonl")
    words = ["compress", str(model), "--data", rows, "--eval", rows, "--output", str(files / "out"), "--json", *options]
    return CliRunner().invoke(app, words)


def table_of(model, files, **changes):
    checkpoint = open_checkpoint(model)
    table = replace(
        count_operations(sizes_of(checkpoint.config, task=checkpoint.task), 10),
        source="measured",
        unit="ms",
        precision="int8",
        pytorch=100.0,
    )
    replace(table, **changes).save(files / "table.json")
    return str(files / "table.json")


def test_a_budget_that_is_met_ends_well_and_says_so(files):
    model = make_checkpoint(files / "m")
    found = run(
        files, model, "--recipe", str(files / "cut.yaml"), "--max-latency", "0.3", "--table", table_of(model, files)
    )
    assert found.exit_code == EXIT_DONE, found.output
    values = json.loads(found.stdout)
    (verdict,) = values["budget"]
    assert (verdict["name"], verdict["asked"], verdict["met"], verdict["source"]) == ("latency", 0.3, True, "measured")
    assert verdict["got"] <= 0.3
    assert [row["heads_before"] for row in values["layers"]] == [4, 4]


def test_python_has_the_same_door(files):
    """What the command line makes of a budget, a function makes too."""
    model = make_checkpoint(files / "m")
    table = table_of(model, files)
    typed = run(files, model, "--recipe", str(files / "cut.yaml"), "--max-latency", "0.3", "--table", table)
    rows = edgelm.load_dataset(files / "rows.jsonl")
    called = edgelm.compress_to_budget(
        model,
        edgelm.Budget(max_latency_ms=0.3),
        dataset=rows,
        evaluation=rows,
        device=edgelm.load_device("cpu"),
        recipe=edgelm.load_recipe(files / "cut.yaml"),
        table=read_latency_table(files / "table.json"),
        output=files / "called",
    )
    assert called.met
    assert called.to_dict()["budget"] == json.loads(typed.stdout)["budget"]
    assert (files / "called" / "model.safetensors").read_bytes() == (files / "out" / "model.safetensors").read_bytes()


def test_a_device_that_is_not_there_is_estimated_with_a_band(files):
    model = make_checkpoint(files / "m")
    found = run(
        files,
        model,
        "--recipe",
        str(files / "cut.yaml"),
        "--max-latency",
        "10",
        "--device",
        "jetson-orin-nano",
        "--precision",
        "fp16",
    )
    assert found.exit_code == EXIT_DONE, found.output
    (verdict,) = json.loads(found.stdout)["budget"]
    assert verdict["source"] == "estimated"
    low, high = load_constants("jetson").band
    assert verdict["band"] == pytest.approx([low * verdict["got"], high * verdict["got"]])


def test_a_drop_is_judged_on_the_evaluation_rows(files):
    """Labels are the original's own answers: whatever a cut changes is lost."""
    model = make_checkpoint(files / "m")
    answers = json.loads(run(files, model, "--recipe", "no-training").stdout)["original"]["metrics"]["accuracy"]
    found = run(
        files, model, "--recipe", str(files / "cut.yaml"), "--set", "fit.speedup=1000", "--max-drop", "0", "--overwrite"
    )
    values = json.loads(found.stdout)
    (verdict,) = values["budget"]
    lost = 100 * (answers - values["record"]["stages"][-1]["after"]["accuracy"])
    assert verdict["got"] == pytest.approx(lost)
    assert verdict["met"] == (lost <= 0)
    assert found.exit_code == (EXIT_DONE if verdict["met"] else EXIT_BUDGET)


def test_a_speedup_with_nothing_to_compare_to_is_refused(files):
    model = make_checkpoint(files / "m")
    found = run(
        files,
        model,
        "--recipe",
        str(files / "cut.yaml"),
        "--speedup",
        "3x",
        "--table",
        table_of(model, files, pytorch=None),
    )
    assert found.exit_code == EXIT_USAGE
    assert "--max-latency" in found.stderr


def test_a_recipe_that_ignores_budgets_is_refused(files):
    model = make_checkpoint(files / "m")
    found = run(files, model, "--recipe", "balanced", "--max-latency", "0.3", "--table", table_of(model, files))
    assert found.exit_code == EXIT_USAGE
    assert "no fit stage" in found.stderr


def test_a_table_of_another_model_is_refused(files):
    model = make_checkpoint(files / "m")
    table = table_of(model, files, sizes=replace(SIZES, hidden=64))
    found = run(files, model, "--recipe", str(files / "cut.yaml"), "--max-latency", "0.3", "--table", table)
    assert found.exit_code == EXIT_USAGE
    assert "width" in found.stderr


def test_a_table_for_texts_of_another_length_says_so(files):
    model = make_checkpoint(files / "m")
    found = run(
        files,
        model,
        "--recipe",
        str(files / "cut.yaml"),
        "--max-latency",
        "0.3",
        "--table",
        table_of(model, files, sequence=20),
    )
    assert found.exit_code == EXIT_DONE, found.output
    (verdict,) = json.loads(found.stdout)["budget"]
    assert verdict["source"] == "measured at 20 tokens; your texts have 10"


def test_a_size_below_what_stays_keeps_the_closest_model_and_names_the_way(files):
    model = make_checkpoint(files / "m")
    found = run(files, model, "--recipe", str(files / "cut.yaml"), "--max-size", "1kB")
    assert found.exit_code == EXIT_BUDGET
    (verdict,) = json.loads(found.stdout)["budget"]
    assert not verdict["met"]
    assert "vocabulary" in verdict["advice"]
    assert (files / "out" / "model.safetensors").is_file()
