"""`edgelm advise --profile`: what was measured on a device is ranked as measured, and calibrates what is estimated of
it."""

import json

import numpy as np
import onnx
import pytest
from bundles import make_bundle, reseal
from report_material import a_profile, write_profiles
from typer.testing import CliRunner

import edgelm.advising.advise as advising
from edgelm.advising.models import KnownModel
from edgelm.cli.main import app
from edgelm.cost.roofline import load_constants, price, total_ms
from edgelm.cost.work import graph_work
from edgelm.device import load_device
from edgelm.graph.synthetic import encoder_graph
from edgelm.shapes import ModelSizes

SMALL = ModelSizes(4, 64, 4, 128, 500)
PI = {"cpu": "Cortex-A76", "arch": "aarch64", "system": "Linux", "cores": 4, "python": "3.11", "versions": {}}
TOKENS = 9  # what is assumed of the texts below


@pytest.fixture(autouse=True)
def one_model(monkeypatch, tmp_path):
    models = (KnownModel("published", "bert", "English", SMALL, 0.01),)
    monkeypatch.setattr(advising, "published_models", lambda: models)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text\nit is too dark in here\nplay some music\nwhat is the weather like now\n")


@pytest.fixture
def measured(tmp_path):
    """A bundle of an encoder, and a profile in which it took 7 ms at the length of the texts and 21 at 32 tokens."""
    bundle = make_bundle(tmp_path / "out" / "m.edge")
    onnx.save(encoder_graph(SMALL, SMALL.full()), bundle / "model.onnx")
    reseal(bundle)
    profile = a_profile("m", "bundle", 1.0, {}, size_mb=1.0, path="out/m.edge", provider="cpu", machine=PI)
    cases = [entry | {"batch": 1} for entry in profile.to_dict()["cases"][:2]]
    for case, sequence, ms in zip(cases, (TOKENS, 32), (7.0, 21.0), strict=True):
        case |= {"sequence": sequence, "samples_ms": [ms] * 40}
        cases[cases.index(case)] = case
    changed = type(profile).from_dict(profile.to_dict() | {"cases": cases})
    return write_profiles(tmp_path / "out" / "profile.json", changed)


def ask(*arguments, device="raspberry-pi-5", options=("--json",)):
    given = ["advise", *map(str, arguments), "--data", "rows.csv", "--device", device, "--max-latency", "1s"]
    return CliRunner().invoke(app, [*given, *options])


def entries(result):
    assert result.exit_code == 0, result.output
    return {(row["model"], row["precision"]): row for row in json.loads(result.stdout)["candidates"]}


def test_a_measured_bundle_is_ranked_and_calibrates_estimates_in_its_precision(measured):
    before, result = entries(ask()), ask("--profile", measured)
    after = entries(result)
    row = after["out/m.edge", "fp32"]
    assert (row["latency_ms"], row["latency_source"], row["layers"]) == (7.0, "measured", 4)
    assert row["weights_m"] == pytest.approx(4 * (4 * 64 * 64 + 2 * 64 * 128) / 1e6)
    device, constants = load_device("raspberry-pi-5"), load_constants("cpu")
    graph = encoder_graph(SMALL, SMALL.full())
    ratios = [
        ms / total_ms(price(graph_work(graph, batch=1, sequence=tokens), device, constants), constants)
        for tokens, ms in ((TOKENS, 7.0), (32, 21.0))
    ]
    exact, other = after["published", "fp32"], after["published", "int8"]
    assert exact["latency_source"] == "estimated, calibrated"
    assert exact["latency_ms"] == pytest.approx(before["published", "fp32"]["latency_ms"] * np.median(ratios))
    assert other == before["published", "int8"]  # in another precision nothing was measured
    (found,) = json.loads(result.stdout)["calibrations"]
    assert (found["precision"], found["cases"], found["names"]) == ("fp32", 2, ["m"])
    low, high = min(ratios) / np.median(ratios), max(ratios) / np.median(ratios)
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    band = exact["low_ms"] / exact["latency_ms"], exact["high_ms"] / exact["latency_ms"]
    # one shape says nothing of how much shapes differ, but what it shows of that counts
    assert band == pytest.approx((min(low, constants.band[0]), max(high, constants.band[1])))


@pytest.mark.parametrize("given", [("--profile", "out"), ("out/m.edge",)])
def test_a_folder_with_a_profile_and_a_bundle_beside_one_are_enough(measured, given):
    result = ask(*given, options=())
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "out/m.edge" in words
    assert "Estimates in fp32 are multiplied by" in words
    assert "median of 2 cases of m" in words
    assert words.count("measured") == 3  # what the note says of marks, the calibration, and the bundle's own row


def test_a_length_that_was_not_measured_is_reckoned_from_the_nearest(measured):
    values = json.loads(measured.read_text())
    del values["profiles"][0]["cases"][0]
    measured.write_text(json.dumps(values))
    row = entries(ask("--profile", measured))["out/m.edge", "fp32"]
    assert row["latency_source"] == "estimated from 32 tokens"
    assert row["low_ms"] < row["latency_ms"] < row["high_ms"] < 21.0


def test_where_nothing_can_be_estimated_what_was_measured_still_ranks(measured):
    found = entries(ask("--profile", measured, device="cpu"))
    assert list(found) == [("out/m.edge", "fp32")]


@pytest.mark.parametrize(
    ("given", "device", "code", "words"),
    [
        (("--profile", "out"), "x86-laptop", 2, "was measured on Cortex-A76 (aarch64); x86-laptop is another device"),
        (("--profile", "out"), "jetson-orin-nano", 2, "ran on cpu; jetson-orin-nano is another device"),
        (("--profile", "nowhere.json"), "raspberry-pi-5", 4, "nowhere.json: no file that can be read"),
        (("--profile", "cache"), "raspberry-pi-5", 4, "cache: no profile.json is in this folder"),
        (("alone/n.edge",), "raspberry-pi-5", 4, "no profile.json beside it says how fast it is"),
    ],
)
def test_profiles_that_say_nothing_of_the_device_are_refused(measured, tmp_path, given, device, code, words):
    (tmp_path / "cache").mkdir()
    make_bundle(tmp_path / "alone" / "n.edge")
    result = ask(*given, device=device)
    assert (result.exit_code, words in result.output) == (code, True), result.output
    assert len(result.stderr.strip().splitlines()) <= 3


def test_a_bundle_that_is_gone_is_said(measured, tmp_path):
    (tmp_path / "out" / "m.edge").rename(tmp_path / "out" / "moved.edge")
    result = ask("--profile", measured)
    assert result.exit_code == 4
    assert "out/m.edge is not there" in result.output
