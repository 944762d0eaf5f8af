"""What a user of `edgelm estimate` sees: figures that are marked, with a band, for devices that are not
there."""

import json

import pytest
from bundles import make_bundle
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.cost.roofline import load_constants
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.errors import EXIT_DONE, EXIT_INPUT, EXIT_USAGE


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from edgelm.export.pipeline import export

    folder = tmp_path_factory.mktemp("estimate")
    checkpoint = make_checkpoint(folder / "checkpoint", hidden=64, ffn=128)
    export(
        checkpoint,
        device=load_device("jetson-orin-nano"),
        precision="fp16",
        calibration=Dataset("texts", TEXTS * 10),
        output=folder / "bundle",
    )
    return folder / "bundle"


def run(*arguments):
    return CliRunner().invoke(app, ["estimate", *map(str, arguments)])


def test_an_estimate_is_marked_and_has_a_band(bundle):
    shown = run(bundle, "--device", "jetson-orin-nano", "--sequence", 32, "--batch", 1, "--batch", 8, "--json")
    assert shown.exit_code == EXIT_DONE, shown.output
    (entry,) = json.loads(shown.stdout)["estimates"]
    assert (entry["source"], entry["device"], entry["precision"]) == ("estimated", "jetson-orin-nano", "fp16")
    assert "held out" in entry["provenance"]
    one, eight = entry["cases"]
    assert (one["batch"], eight["batch"], one["sequence"]) == (1, 8, 32)
    low, high = load_constants("jetson").band
    assert (one["low_ms"], one["high_ms"]) == pytest.approx((low * one["p50_ms"], high * one["p50_ms"]))
    assert one["p50_ms"] < eight["p50_ms"]
    for case in entry["cases"]:
        assert sum(case["bounds"].values()) == pytest.approx(case["p50_ms"])
        assert sum(row["ms"] for row in case["operators"]) + case["bounds"]["call"] == pytest.approx(case["p50_ms"])
    rows = {row["name"]: row for row in one["operators"]}
    assert rows["Softmax"]["launches"] == 0  # done inside attention
    assert rows["LayerNormalization"]["nodes"] == rows["LayerNormalization"]["launches"] == 5
    assert rows["MatMul"]["bound"] == "launch"  # so small a model is nothing but launches on a GPU


def test_the_length_is_that_of_the_golden_samples(bundle):
    (entry,) = json.loads(run(bundle, "--device", "t4", "--json").stdout)["estimates"]
    golden = json.loads((bundle / "golden.json").read_text())["inputs"]
    lengths = sorted(len(sample["input_ids"][0]) for sample in golden)
    assert lengths[0] <= entry["cases"][0]["sequence"] <= lengths[-1]


def test_subjects_side_by_side_on_the_users_texts(bundle, tmp_path):
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "good\n" * 3)
    options = ["--compare", bundle / "model.onnx", "--data", texts, "--device", "t4", "--device", "a100"]
    shown = run(bundle, *options, "--json")
    assert shown.exit_code == EXIT_DONE, shown.output
    found = json.loads(shown.stdout)["estimates"]
    assert [(entry["device"], entry["name"]) for entry in found] == [
        (device, name) for device in ("t4", "a100") for name in ("bundle", "model")
    ]
    assert {case["sequence"] for entry in found for case in entry["cases"]} == {
        3
    }  # the word between two special tokens
    assert "estimated for model on a100" in " ".join(run(bundle, *options).output.split())


def test_people_see_what_bounds_it_and_that_it_was_not_measured(bundle, tmp_path):
    files = {name: tmp_path / f"estimate.{name}" for name in ("html", "md", "json")}
    options = ["--html", files["html"], "--markdown", files["md"], "--output", files["json"]]
    shown = run(bundle, "--device", "jetson-orin-nano", "--device", "a100", *options)
    assert shown.exit_code == EXIT_DONE, shown.output
    for text in (shown.output, files["html"].read_text(), files["md"].read_text()):
        assert "not measured" in text
        assert "memory-bound" in text
        assert "estimated for a100" in text
    assert "Measured on" not in shown.output
    assert [entry["device"] for entry in json.loads(files["json"].read_text())["estimates"]] == [
        "jetson-orin-nano",
        "a100",
    ]
    assert run(bundle, "--device", "a100", "--html", files["html"]).exit_code == EXIT_USAGE  # it is there already


def test_an_onnx_file_and_a_cpu_with_figures(tmp_path):
    path = make_bundle(tmp_path / "b.edge") / "model.onnx"
    (entry,) = json.loads(run(path, "--device", "raspberry-pi-5", "--json").stdout)["estimates"]
    (case,) = entry["cases"]
    assert case["sequence"] == 32
    assert {row["name"]: row["launches"] for row in case["operators"]}["Gemm"] == 1


@pytest.mark.parametrize(
    ("device", "code", "words"), [("cpu", EXIT_USAGE, "devices detect"), ("no-such", EXIT_USAGE, "no device")]
)
def test_a_device_without_figures_is_refused(bundle, device, code, words):
    shown = run(bundle, "--device", device)
    assert shown.exit_code == code
    assert words in " ".join(shown.stderr.split())


def test_what_has_no_graph_is_refused(bundle, tmp_path):
    assert run(bundle.parent / "checkpoint", "--device", "t4").exit_code == EXIT_USAGE
    assert run(tmp_path / "nothing", "--device", "t4").exit_code == EXIT_INPUT
