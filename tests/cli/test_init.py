"""`edgelm init`: writes the file that `edgelm make` reads, and shows what it read of the rows."""

import pytest
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.project import read_project


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.csv").write_text("text,label\nlights on please,on\nlights off,off\n")
    (tmp_path / "dev.csv").write_text("text,label\nall lights on,on\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, typed=None):
    return CliRunner().invoke(app, ["init", *words], input=typed)


GIVEN = ("--model", "a: #b", "--data", "train.csv", "--eval", "dev.csv", "--yes")


def test_options_become_a_commented_file_that_is_read_as_it_was_meant(folder):
    done = run(*GIVEN, "--speedup", "5x", "--time-limit", "45m", "--text-column", "text")
    assert done.exit_code == 0, done.output
    assert "2 rows, text in 'text', label in 'label'" in done.stderr
    assert "edgelm make edgelm.yaml --dry-run" in done.stdout
    project = read_project(folder / "edgelm.yaml")
    assert (project.model, project.budget.speedup, project.time_limit) == ("a: #b", "5x", "45m")
    assert project.data.text_column == "text"
    assert "# " in (folder / "edgelm.yaml").read_text()


def test_questions_are_answered_and_what_is_left_empty_is_no_bound(folder):
    done = run(typed="m\ntrain.csv\ndev.csv\n\n\n\n")
    assert done.exit_code == 0, done.output
    project = read_project(folder / "edgelm.yaml")
    assert (project.model, project.device, project.budget.speedup, project.time_limit) == ("m", "cpu", None, None)


def test_a_budget_is_told_in_one_line(folder):
    """As people say it."""
    done = run(typed="m\ntrain.csv\ndev.csv\ncpu\nunder 10 ms, under 50MB and at most 1 point worse\n1h\n")
    assert done.exit_code == 0, done.output
    budget = read_project(folder / "edgelm.yaml").budget
    assert (budget.max_latency, budget.max_size, budget.max_drop, budget.speedup) == ("10ms", "50mb", 1.0, None)


def test_bounds_given_as_options_are_not_asked_for(folder):
    done = run("--max-latency", "2ms", "--max-drop", "0.5", *GIVEN[:-1], typed="cpu\n\n")
    assert done.exit_code == 0, done.output
    budget = read_project(folder / "edgelm.yaml").budget
    assert (budget.max_latency, budget.max_drop, budget.max_size) == ("2ms", 0.5, None)


@pytest.mark.parametrize("answer", ["quick", "5x, 6x", "10 dogs"])
def test_a_budget_that_cannot_be_read_is_refused(folder, answer):
    done = run(*GIVEN[:-1], "--device", "cpu", "--time-limit", "1h", typed=f"{answer}\n")
    assert done.exit_code == 2, done.output
    assert not (folder / "edgelm.yaml").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--yes",), 2, "--model is not given"),
        ((*GIVEN, "--speedup", "fast"), 4, "budget.speedup is 'fast'"),
        ((*GIVEN, "--device", "toaster"), 2, "no device 'toaster'"),
        ((*GIVEN, "--data", "none.csv"), 4, "none.csv: no such file"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(folder, words, code, said):
    done = run(*words)
    assert (done.exit_code, said in done.stderr) == (code, True), done.output
    assert not (folder / "edgelm.yaml").exists()


def test_a_file_that_is_there_stays(folder):
    (folder / "edgelm.yaml").write_text("mine")
    assert run(*GIVEN).exit_code == 2
    assert (folder / "edgelm.yaml").read_text() == "mine"
    assert run(*GIVEN, "--overwrite").exit_code == 0
