"""`--report-to`: the figures of a run in TensorBoard, read back from its files; what is said of trackers that are not
there or break."""

import json
import sys
import types

import numpy as np
import pytest
from models import TEXTS, make_checkpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

import edgelm
from edgelm import tracking
from edgelm.cli.main import app
from edgelm.errors import EdgelmError
from edgelm.quantize.histogram import Histogram
from edgelm.search.result import SearchResult, Trial
from edgelm.search.tracked import track_front, track_trial

RECIPE = """
name: tiny
stages:
  - {stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8, samples: 8}
  - {stage: quantize, samples: 8, train: {max_steps: 4, batch_size: 4}}
"""


@pytest.fixture
def files(tmp_path):
    make_checkpoint(tmp_path / "teacher")
    rows = [{"text": text, "label": ["negative", "positive"][index % 2]} for index, text in enumerate(TEXTS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def compress_arguments(files, *more):
    rows = ("--data", files / "rows.jsonl", "--eval", files / "rows.jsonl")
    return ("compress", files / "teacher", *rows, "--recipe", files / "recipe.yaml", "--output", files / "out", *more)


def events(folder):
    (file,) = folder.rglob("events.*")
    found = EventAccumulator(str(file), size_guidance={"scalars": 0, "histograms": 0})
    return found.Reload()


def scalars(found, tag):
    return [(event.step, event.value) for event in found.Scalars(tag)]


def test_compress_reports_stages_training_and_sizes(files):
    result = run(*compress_arguments(files, "--report-to", "tensorboard", "--max-drop", 100, "--json"))
    assert result.exit_code == 0, result.output
    made, found = json.loads(result.stdout), events(files / "out.logs")
    stages = [made["original"]["metrics"], *(stage["after"] for stage in made["record"]["stages"])]
    assert [value for _, value in scalars(found, "stages/accuracy")] == pytest.approx(
        [metrics["accuracy"] for metrics in stages]
    )
    assert [step for step, _ in scalars(found, "quantize/train/loss")] == [1, 2, 3, 4]
    assert scalars(found, "result/size_mb") == [(4, pytest.approx(made["size_mb"]))]
    (verdict,) = made["budget"]
    assert [value for _, value in scalars(found, "budget/drop")] == pytest.approx([verdict["got"]])


def test_histograms_have_every_value(tmp_path):
    values = Histogram()
    values.add(np.linspace(-1, 3, 1000, dtype=np.float32))
    with edgelm.report_to("tensorboard", output=tmp_path / "out"):
        tracking.log_histogram("calibration/dense", values)
    (event,) = events(tmp_path / "out.logs").Histograms("calibration/dense")
    drawn = event.histogram_value
    assert (drawn.min, drawn.max, drawn.num) == (-1.0, 3.0, 1000)
    assert sum(drawn.bucket) == 1000
    assert drawn.sum == pytest.approx(1000, rel=0.01)  # the middle of each of 4,096 bins stands for its values


def test_a_search_reports_its_trials_and_its_front(tmp_path):
    trials = (
        Trial(0, "fast", (), "finished", 0.8, 1.0, 5.0, seconds=2.0),
        Trial(1, "good", (), "finished", 0.9, 2.0, 6.0, seconds=3.0),
        Trial(2, "bad", (), "failed", error="broken"),
    )
    result = SearchResult("search", {}, "accuracy", trials, (1, 0), "trials", 5.0)
    with edgelm.report_to("tensorboard", output=tmp_path / "search", logs=tmp_path / "logs"):
        for trial in trials:
            track_trial(trial, result)
        track_front(result)
    found = events(tmp_path / "logs")
    assert scalars(found, "trial/latency_ms") == [(1, 1.0), (2, 2.0)]
    assert scalars(found, "trial/failed") == [(1, 0.0), (2, 0.0), (3, 1.0)]
    assert scalars(found, "front/accuracy") == [(4, pytest.approx(0.9)), (5, pytest.approx(0.8))]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_tracker_that_is_not_installed_is_named_with_what_brings_it(files, monkeypatch, name):
    monkeypatch.setattr(tracking, "find_spec", lambda package: None)
    result = run(*compress_arguments(files, "--report-to", name))
    assert result.exit_code == 1
    assert f"pip install {name}" in result.stderr
    assert not (files / "out").exists()


def test_an_unknown_tracker_is_wrong_usage(files):
    result = run(*compress_arguments(files, "--report-to", "tensorboard,tensorbored"))
    assert result.exit_code == 2
    assert "tensorbored" in result.stderr and "mlflow" in result.stderr


class Trackio(types.ModuleType):
    """A stand-in for the package, whose run fails at its second figure."""

    def __init__(self, fails):
        super().__init__("trackio")
        self.fails, self.taken, self.__spec__ = fails, [], types.SimpleNamespace(name="trackio")

    def init(self, project, name):
        if self.fails == "at once":
            raise ConnectionError("nobody is there\nat all")
        print("* Trackio project initialized")
        return types.SimpleNamespace(log=self.log, finish=lambda: None)

    def log(self, values, step):
        if self.taken:
            raise ConnectionError("gone away")
        self.taken.append(values)


def test_a_service_that_goes_away_leaves_the_run_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trackio", service := Trackio("later"))
    with edgelm.report_to("trackio", output=tmp_path / "out"):
        tracking.log("group", {"a": 1.0})
        with pytest.warns(tracking.TrackingWarning, match="trackio takes no more figures: gone away"):
            tracking.log("group", {"a": 2.0})
        tracking.log("group", {"a": 3.0})
    assert service.taken == [{"group/a": 1.0}]
    assert capsys.readouterr().out == ""  # which belongs to results


def test_a_service_that_is_not_there_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", Trackio("at once"))
    with (
        pytest.raises(EdgelmError, match="trackio cannot begin a run: nobody is there"),
        edgelm.report_to("trackio", output=tmp_path / "out"),
    ):
        tracking.log("group", {"a": 1.0})
