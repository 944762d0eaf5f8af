"""`edgelm search` as a user meets it, on a model of two layers: trials, resuming after SIGKILL, refusals, and what
comes after."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from inline_workers import take_inline
from models import TEXTS, make_checkpoint
from safetensors.torch import load_file
from typer.testing import CliRunner
from warm_workers import warm

from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.device import load_device
from edgelm.recipe import load_recipe

RECIPE = """
name: tiny
stages:
  - {stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8, samples: 8}
  - {stage: recover, train: {max_steps: 4, batch_size: 4}}
"""
SPACE = """
name: tiny
recipes: [RECIPE]
settings:
  prune.keep_ffn: {low: 0.25, high: 1.0, step: 0.25}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    make_checkpoint(folder / "model")
    rows = [{"text": text, "label": ["negative", "positive"][index % 2]} for index, text in enumerate(TEXTS * 2)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "space.yaml").write_text(SPACE.replace("RECIPE", str(folder / "recipe.yaml")))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def command(files, output, *more):
    rows = ["--data", files / "rows.jsonl", "--eval", files / "rows.jsonl"]
    options = ["--precision", "fp32", "--runs", 10, "--threads", 1, "--space", files / "space.yaml"]
    return [str(word) for word in ("search", files / "model", *rows, *options, "--output", output, *more)]


@pytest.fixture
def inline(monkeypatch):
    take_inline(monkeypatch)


@pytest.fixture(scope="module")
def found(files):
    """A search of two trials, each with half of its training, and what it printed."""
    with warm(), pytest.MonkeyPatch.context() as patch:
        take_inline(patch)
        result = run(*command(files, files / "found", "--trials", 2, "--jobs", 2, "--train-share", 0.5, "--json"))
    assert result.exit_code == 0, result.output
    return files / "found", json.loads(result.stdout), result.stderr


def test_trials_and_front_are_in_the_folder_as_printed(found):
    folder, values, said = found
    assert json.loads((folder / "front.json").read_text()) == values
    assert [trial["state"] for trial in values["trials"]] == ["finished", "finished"]
    assert values["trials"][0]["overrides"] == ["prune.keep_ffn=0.5"]  # the recipe as it is comes first
    assert set(values["front"]) <= {0, 1}
    with (folder / "front.csv").open() as stream:
        assert [int(row["trial"]) for row in csv.DictReader(stream)] == values["front"]
    page = (folder / "front.html").read_text()
    assert "<svg" in page
    assert "The original" in page
    made = json.loads((folder / "trials" / "0" / "compress.json").read_text())["original"]
    original = values["original"]
    assert original["error"] == ""
    assert original["latency_ms"] > 0
    assert (original["quality"], original["size_mb"]) == (made["metrics"]["accuracy"], made["size_mb"])
    assert f"edgelm compress --from-trial {values['choice']} --search {folder}" in said
    for trial in values["trials"]:
        place = folder / "trials" / str(trial["number"])
        profile = json.loads((place / "profile.json").read_text())
        assert trial["latency_ms"] == pytest.approx(profile["cases"][0]["p50_ms"])
        assert trial["size_mb"] == pytest.approx(profile["size_mb"])
        manifest = json.loads((place / "manifest.json").read_text())
        assert trial["quality"] == manifest["quality"]["bundle"]["accuracy"]
        assert open_checkpoint(place / "checkpoint").record.stages[-1].settings["train"]["max_steps"] == 2
        assert load_recipe(place / "full-recipe.yaml").stages[-1].train.max_steps == 4
        assert not (place / "bundle").exists()


@pytest.mark.slow
def test_a_masked_language_model_is_searched_for_its_task(files, inline):
    model = make_checkpoint(files / "masked", kind="fill-mask")
    (model / "edgelm.json").unlink()  # a folder as transformers writes it, which is read as an encoder otherwise
    rows = files / "texts.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    given = ["--data", rows, "--eval", rows, "--task", "fill-mask"]
    options = ["--precision", "fp32", "--runs", 10, "--threads", 1, "--space", files / "space.yaml"]
    result = run("search", model, *given, *options, "--output", files / "filled", "--trials", 1)
    assert result.exit_code == 0, result.output
    place = files / "filled" / "trials" / "0"
    assert json.loads((place / "manifest.json").read_text())["task"]["kind"] == "fill-mask"
    assert "--task fill-mask" in result.stderr + result.stdout
    made = run("compress", "--from-trial", 0, "--search", files / "filled", *given, "--output", files / "filled-full")
    assert made.exit_code == 0, made.output
    assert open_checkpoint(files / "filled-full").task.kind == "fill-mask"


def test_the_same_command_has_nothing_more_to_do_and_shows_the_front(files, found):
    folder, values, _ = found
    priced = ("--price-per-hour", 0.36)  # of the same trials
    again = run(*command(files, folder, "--trials", 2, "--train-share", 0.5, *priced))
    assert again.exit_code == 0, again.output
    assert "price of a million" in again.stdout
    assert "the front by cost is that by latency" in again.stdout
    run(*command(files, folder, "--trials", 2, "--train-share", 0.5))
    assert json.loads((folder / "front.json").read_text())["trials"] == values["trials"]
    for word in ("accuracy", "p50 ms", "prune.keep_ffn=", "2 finished", "Next:"):
        assert word in again.stdout


def test_other_data_in_the_same_folder_are_refused(files, found):
    other = files / "other.jsonl"
    other.write_text((files / "rows.jsonl").read_text().replace("kitchen", "garden"))
    refused = run(*command(files, found[0], "--trials", 3, "--train-share", 0.5, "--eval", other))
    assert refused.exit_code == 2
    assert "differs in: eval" in refused.stderr


def test_a_trial_is_made_in_full(files, found):
    rows = ["--data", files / "rows.jsonl", "--eval", files / "rows.jsonl"]
    result = run("compress", "--from-trial", 1, "--search", found[0], *rows, "--output", files / "full", "--json")
    assert result.exit_code == 0, result.output
    record = open_checkpoint(files / "full").record
    overrides = found[1]["trials"][1]["overrides"]
    assert [f"prune.keep_ffn={record.stages[0].settings['keep_ffn']}"] == overrides
    assert record.stages[1].settings["train"]["max_steps"] == 4
    by_hand = ["--recipe", files / "recipe.yaml", "--set", overrides[0], "--output", files / "by-hand"]
    assert run("compress", files / "model", *rows, *by_hand).exit_code == 0
    first, second = (load_file(files / name / "model.safetensors") for name in ("full", "by-hand"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def trial_files(folder):
    return {path: json.loads(path.read_text()) for path in sorted(folder.glob("trials/*/trial.json"))}


def finished(folder):
    return {path: values for path, values in trial_files(folder).items() if values["state"] == "finished"}


@pytest.mark.slow
def test_a_killed_search_loses_no_finished_trial(files):
    """SIGKILL to the leading process while the second trial trains; a trial that had all of its training is then taken
    as it is."""
    output = files / "killed"
    arguments = command(files, output, "--trials", 2)
    process = subprocess.Popen(
        [sys.executable, "-m", "edgelm", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    deadline = time.monotonic() + 400
    while (
        not (output / "trials" / "1" / "trial.json").is_file()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, said
    before = finished(output)
    assert [path.parent.name for path in before] == ["0"]
    made = (output / "trials" / "0" / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    again = run(*arguments, "--json")
    assert again.exit_code == 0, again.output
    after = finished(output)
    assert before.items() <= after.items()
    assert [path.parent.name for path in after] == ["0", "1"]  # the one that was cut off went on under its number
    assert (output / "trials" / "0" / "checkpoint" / "model.safetensors").stat().st_mtime_ns == made
    assert "Trial 0" not in again.stderr
    rows = ["--data", files / "rows.jsonl", "--eval", files / "rows.jsonl"]
    taken = run("compress", "--from-trial", 0, "--search", output, *rows, "--output", files / "taken", "--json")
    assert taken.exit_code == 0, taken.output
    checkpoint = output / "trials" / "0" / "checkpoint" / "model.safetensors"
    assert (files / "taken" / "model.safetensors").read_bytes() == checkpoint.read_bytes()
    assert json.loads(taken.stdout)["record"]["stages"][1]["settings"]["train"]["max_steps"] == 4


def test_too_little_time_for_one_trial_is_exit_code_3_and_nothing_is_lost(files):
    output = files / "short"
    result = run(*command(files, output, "--time-limit", "1s"))
    assert result.exit_code == 3, result.output
    assert "longer --time-limit" in result.stderr
    assert json.loads((output / "front.json").read_text())["stopped"] == "time"
    assert {values["state"] for values in trial_files(output).values()} <= {"unfinished"}  # or none was begun


def test_a_search_of_which_nothing_can_be_made_says_why(files, inline):
    space = files / "impossible.yaml"
    space.write_text("name: impossible\nrecipes: [fastest]\nsettings:\n  distill.layers: [9]\n")
    result = run(*command(files, files / "impossible", "--trials", 1, "--space", space, "--precision", "fp32"))
    assert result.exit_code == 1, result.output
    assert "no trial ended well" in result.stderr
    assert "9" in result.stderr
    (trial,) = trial_files(files / "impossible").values()
    assert trial["state"] == "failed"
    assert "9" in trial["error"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ((), 2, "--time-limit 30m"),
        (("--trials", 1, "--jobs", 0), 2, "--jobs is 0"),
        (("--trials", 0), 2, "--trials is 0"),
        (("--time-limit", "soon"), 2, "1h30m"),
        (("--trials", 1, "--train-share", 1.5), 2, "--train-share"),
        (("--trials", 1, "--sampler", "dice"), 2, "nsga2"),
        (("--trials", 1, "--calls-per-day", 1000), 2, "--price-per-hour"),
        (("--trials", 1, "--precision", "int3"), 2, "int3"),
        (("--trials", 1, "--device", "jetson-orin-nano"), 2, "jetson"),
        (("--trials", 1, "--recipe", "balancd"), 4, "balancd"),
        (("--trials", 1, "--space", "nothing"), 2, "default"),
        (("--trials", 1, "--data", "nothing.csv"), 4, "nothing.csv"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(files, more, code, message):
    result = run(*command(files, files / "refused", *more))
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert not list((files / "refused").glob("trials"))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "which model"),
        (("--from-trial", 0), 2, "--search"),
        (("--search", "FOUND"), 2, "--from-trial"),
        (("--from-trial", 0, "--search", "nowhere"), 4, "no search lies there"),
        (("--from-trial", 77, "--search", "FOUND"), 2, "no trial 77"),
        (("--from-trial", 0, "--search", "FOUND", "--recipe", "balanced"), 2, "--recipe"),
    ],
)
def test_a_trial_that_is_not_there_is_refused(files, found, words, code, message):
    rows = ["--data", files / "rows.jsonl", "--eval", files / "rows.jsonl", "--output", files / "refused"]
    result = run("compress", *(found[0] if word == "FOUND" else word for word in words), *rows)
    assert result.exit_code == code, result.output
    assert message in result.stderr


@pytest.mark.slow
def test_an_encoder_is_searched_by_agreement_and_by_pairs(tmp_path, inline):
    """The library, with settings as values: sentence embeddings of plain text, then of labelled pairs."""
    import edgelm

    make_checkpoint(tmp_path / "encoder", kind="sentence-embedding")
    texts = Dataset("texts", TEXTS * 2)
    (tmp_path / "pairs.jsonl").write_text(
        "".join(
            json.dumps({"text_a": text, "text_b": TEXTS[index - 1], "label": index + 0.5}) + "\n"
            for index, text in enumerate(TEXTS)
        )
    )
    pairs = load_dataset(tmp_path / "pairs.jsonl", problem="regression")
    options = {
        "dataset": texts,
        "device": load_device("cpu"),
        "precision": "fp32",
        "trials": 1,
        "runs": 5,
        "threads": 1,
        "keep_bundles": True,
    }
    space = edgelm.load_space(recipes=["no-training"])
    alone = edgelm.search(tmp_path / "encoder", evaluation=texts, output=tmp_path / "a", space=space, **options)
    assert alone.metric == "agreement"
    assert alone.trials[0].quality == pytest.approx(1.0, abs=1e-5)  # FP32, and nothing was changed
    assert (tmp_path / "a" / "trials" / "0" / "bundle" / "manifest.json").is_file()
    judged = edgelm.search(tmp_path / "encoder", evaluation=pairs, output=tmp_path / "b", space=space, **options)
    assert judged.metric == "spearman"
    assert judged.front == (0,)


def test_a_limit_that_holds_no_trial_is_told_before_one_is_begun(files, tmp_path, inline, monkeypatch):
    """The rows are so slow to judge that the original alone takes longer than the search may."""
    monkeypatch.setattr("edgelm.compress.training.judging_time.judging_seconds", lambda *_: 1000.0)

    def begin(*_):  # it is the user's to stop it: what is begun is kept, and gone on with
        raise KeyboardInterrupt

    monkeypatch.setattr("edgelm.search.explore.Explorer._begin", begin)
    told = run(*command(files, tmp_path / "s", "--time-limit", "10m")).stderr
    said = re.search(r"limit of 600 s holds no trial: .* takes about (\d+) s of each trial.* --time-limit (\d+)s", told)
    assert said, told
    assert 3000 <= int(said[1]) < int(said[2])  # the original, and what is left of it by both stages
