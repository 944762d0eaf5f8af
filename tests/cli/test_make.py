"""`edgelm make`: one file drives all commands, and what is done is left out."""

import json
import shlex

import pytest
import typer
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

import edgelm.cli.make as making
from edgelm.cli.main import app

PROJECT = """
model: m
data: {train: rows.csv, eval: rows.csv, label-column: label}
budget: {speedup: 2x, max-drop: 1}
time-limit: 45m
output: out
options:
  profile: {runs: 5, replay-me: 1}
"""
GOOD = PROJECT.replace(", replay-me: 1", "")
STEPS = ["compress", "export", "verify", "profile", "report"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("made") / "m")


@pytest.fixture
def folder(tmp_path, model, monkeypatch):
    (tmp_path / "m").symlink_to(model)
    rows = [f'"{text}",{("negative", "positive")[number % 2]}' for number, text in enumerate(TEXTS * 2)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder, text, *words):
    (folder / "edgelm.yaml").write_text(text)
    return CliRunner().invoke(app, ["make", *words])


@pytest.fixture
def called(folder, monkeypatch):
    """The steps that were run; each makes its output, and ends with the code that stands in `codes`."""
    ran, codes = [], {}

    def call(screen, words):
        ran.append(words[0])
        code = codes.get(words[0], 0)
        for option in ("--output", "--html"):
            if option in words and code in (0, 3):
                (folder / words[words.index(option) + 1]).write_text("made")
        return code

    monkeypatch.setattr(making, "_call", call)
    return ran, codes


def test_a_dry_run_prints_lines_that_can_be_pasted(folder):
    done = run(folder, GOOD, "--dry-run")
    assert done.exit_code == 0, done.output
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert [line[1] for line in lines] == STEPS
    for line in lines:
        typer.main.get_command(app).commands[line[1]].make_context(line[1], line[2:])
    compress = lines[0][2:]
    for option, value in (("--speedup", "2x"), ("--time-limit", "45m"), ("--label-column", "label")):
        assert compress[compress.index(option) + 1] == value
    assert not (folder / "out").exists()


def test_a_model_without_a_head_is_fine_tuned_first(folder):
    lines = run(folder, GOOD + "finetune: always\n", "--dry-run").stdout.splitlines()
    assert [shlex.split(line)[1] for line in lines] == ["finetune", *STEPS]
    assert shlex.split(lines[1])[2] == "out/teacher"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PROJECT, "edgelm.yaml:8: options.profile.replay-me: no option"),
        (GOOD.replace("speedup: 2x", "speedup: fast"), "edgelm.yaml:4: budget.speedup is 'fast'"),
        (GOOD.replace("output:", "outputs:"), "edgelm.yaml:6: unknown key 'outputs'."),
        (GOOD.replace("model: m", ""), "model is missing."),
        (GOOD.replace("runs: 5", "runs: many"), "edgelm.yaml:8: options.profile: Invalid value"),
        (GOOD.replace("runs: 5", "output: x"), "edgelm.yaml:8: options.profile.output: no option"),
        ("- a", "edgelm init"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(folder, text, said):
    done = run(folder, text)
    assert (done.exit_code, said in done.stderr) == (4, True), done.stderr
    assert not (folder / "out").exists()


def test_what_is_done_for_the_same_settings_and_rows_is_left_out(folder, called):
    ran, _ = called
    assert run(folder, GOOD).exit_code == 0
    assert ran == STEPS
    done = run(folder, GOOD, "--json")
    assert ran == STEPS
    assert {row["state"] for row in json.loads(done.stdout)["steps"]} == {"done already"}
    run(folder, GOOD.replace("runs: 5", "runs: 6"))
    assert ran == [*STEPS, "profile", "report"]
    with (folder / "rows.csv").open("a") as rows:
        rows.write("one more,negative\n")
    assert "--overwrite" in run(folder, GOOD, "--dry-run").stdout.splitlines()[0]


def test_a_step_that_fails_ends_it_and_a_missed_budget_does_not(folder, called):
    ran, codes = called
    codes |= {"compress": 3, "verify": 4}
    assert run(folder, GOOD).exit_code == 4
    assert ran == STEPS[:3]
    del codes["verify"]
    assert run(folder, GOOD).exit_code == 3
    assert ran == [*STEPS[:3], *STEPS[2:]]


def test_a_file_that_was_just_written_is_made_at_once(folder, called):
    words = ["init", "--model", "m", "--data", "rows.csv", "--eval", "rows.csv", "--speedup", "2x", "--yes", "--run"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    assert called[0] == STEPS
    assert [step["step"] for step in json.loads(done.stdout)["steps"]] == STEPS


def test_what_it_did_not_make_is_not_replaced(folder, called):
    (folder / "out").mkdir()
    (folder / "out" / "report.html").write_text("mine")
    assert run(folder, GOOD).exit_code == 2
    assert called[0] == []
    assert run(folder, GOOD, "--overwrite").exit_code == 0


@pytest.mark.slow
def test_the_whole_line_from_a_file(folder):
    quick = (
        "  compress: {recipe: balanced, set: [recover.train.max_steps=2]}\n  profile: {runs: 5, warmup: 1, loads: 1}\n"
    )
    text = GOOD.replace("budget: {speedup: 2x, max-drop: 1}\n", "").replace("  profile: {runs: 5}\n", quick)
    done = run(folder, text)
    assert done.exit_code == 0, done.output
    assert (folder / "out" / "report.html").is_file()
    assert done.output.count("Next:") == 1
    assert "done already" in run(folder, text).stdout
