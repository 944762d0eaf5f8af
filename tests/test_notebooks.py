"""What a notebook shows of edgelm's objects, and of how far a call is."""

import subprocess
import sys
import types
from pathlib import Path

import lxml.html
import pytest
from bundles import make_bundle
from models import make_checkpoint

import edgelm
from edgelm.budgeting.targets import Outcome, Verdict
from edgelm.checkpoint import Record, StageRecord
from edgelm.compress.pipeline import CompressResult
from edgelm.profile.result import Case, Profile
from edgelm.search.result import SearchResult, Trial
from edgelm.tasks.text import TextClassification

HOSTILE = "<img src=x onerror=alert(1)>"


def cells(view):
    """The rows of every table, as texts."""
    page = lxml.html.fromstring(view._repr_html_())
    return [[cell.text_content() for cell in row.iter("th", "td")] for row in page.iter("tr")]


def stage(name, accuracy):
    return StageRecord(name, {}, 0, {}, {"accuracy": accuracy}, 500_000, 12.0)


def compressed(path="out"):
    record = Record(
        TextClassification(labels=("no", "yes")), "teacher", stages=(stage("finetune", 0.9), stage("prune", 0.8))
    )
    original = {"metrics": {"accuracy": 0.9}, "parameters": 1_000_000, "size_mb": 4.0}
    return CompressResult(Path(path), record, original, 500_000, 2.0)


def test_a_checkpoint_is_shown_with_its_layers(tmp_path):
    make_checkpoint(tmp_path / "model")
    view = edgelm.open_checkpoint(tmp_path / "model")._repr_html_()
    assert str(tmp_path / "model") in view and "text-classification" in view


def test_a_compressed_model_stands_beside_the_original():
    assert cells(compressed()) == [
        ["stage", "weights", "accuracy", "seconds"],
        ["original", "1.00M", "0.9000", "0"],
        ["prune", "0.50M", "0.8000", "12"],
    ]


def test_an_outcome_shows_its_budget_first():
    bound = Verdict("size", "MB", 3.0, 2.0, "counted", True, "")
    assert cells(Outcome(compressed(), (bound,), (), "MB"))[:2] == [
        ["budget", "asked", "got", "unit", "figure", ""],
        ["size", "3", "2", "MB", "counted", "met"],
    ]


def profile(name="model"):
    what = {"name": name, "path": name, "kind": "onnx", "precision": "fp32", "size_mb": 1.0, "load_ms": 1.0}
    cases = (Case(1, None, (1.0, 2.0, 3.0) * 20),)
    return Profile(
        **what,
        cases=cases,
        peak_memory_mb=1.0,
        tokenization_ms=None,
        operators=(),
        machine={"cpu": "a CPU"},
        settings={},
        created="",
        device=None,
        manifest={},
    )


def test_a_profile_shows_its_latencies():
    header, row = cells(profile())
    assert dict(zip(header, row, strict=True))["p50 ms"].startswith("2.000")


def test_a_search_shows_its_front():
    trials = (
        Trial(0, "balanced", (), "finished", 0.9, 1.5, 5.0, parameters=10),
        Trial(1, "fastest", (), "failed", error="broken"),
    )
    rows = cells(SearchResult("search", {}, "accuracy", trials, (0,), "trials", 5.0))
    assert len(rows) == 2 and "1.5" in " ".join(rows[1])


def test_a_bundle_is_shown_with_its_quality(tmp_path):
    quality = {"samples": 10, "checkpoint": {"accuracy": 0.9}, "bundle": {"accuracy": 0.8}}
    opened = edgelm.open_bundle(make_bundle(tmp_path / "small.edge", quality=quality))
    assert "text-classification" in opened._repr_html_()
    assert cells(opened) == [["metric", "checkpoint", "bundle"], ["accuracy", "0.9000", "0.8000"]]


@pytest.mark.parametrize("shown", [compressed(HOSTILE), profile(HOSTILE)], ids=["result", "profile"])
def test_names_of_strangers_are_text(shown):
    assert HOSTILE not in shown._repr_html_()
    assert not list(lxml.html.fromstring(shown._repr_html_()).iter("img"))


WITHOUT = """
import sys
sys.modules.update(jinja2=None, matplotlib=None, torch=None)
from edgelm.search.result import SearchResult, Trial
trial = Trial(0, "balanced", (), "finished", 0.9, 1.5, 5.0, parameters=10)
print(SearchResult("search", {}, "accuracy", (trial,), (0,), "trials", 5.0)._repr_html_())
"""


def test_tables_need_neither_jinja_nor_matplotlib():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "p50 ms" in done.stdout


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, line):
        self.shown.append(line)


def test_progress_in_a_notebook_is_one_line_that_changes(monkeypatch):
    lines = []

    def display(line, display_id):
        lines.append(line)
        return Handle(lines)

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=True)
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display, ipython.display.Pretty = display, str
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    with edgelm.progress_bars() as progress:
        for done in range(1, 101):
            progress("train", done, 100)
        progress("write", 1, 1)
    assert lines[0] == "train: 1 of 100" and lines[-2:] == ["train: 100 of 100", "write"]
    assert len(lines) < 50  # a notebook that is told of every step would do little else


def test_progress_of_a_script_whose_output_is_no_terminal_says_nothing(capsys):
    with edgelm.progress_bars() as progress:
        progress("train", 1, 2)
    assert capsys.readouterr().err == ""
