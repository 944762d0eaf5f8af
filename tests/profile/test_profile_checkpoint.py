"""`edgelm profile CHECKPOINT`: how fast a model is before anything is made of it."""

import json

import pytest
from bundles import make_bundle
from models import TEXTS, make_checkpoint, make_generator
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.data.dataset import Dataset
from edgelm.errors import DataError, UsageError
from edgelm.profile.plan import plan_profile
from edgelm.profile.subject import find_subject
from edgelm.tasks.text import TextClassification


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("profile") / "my-model")


def run(*arguments):
    return CliRunner().invoke(app, ["profile", *map(str, arguments)])


def test_without_texts_tokens_are_made_up_of_the_asked_lengths(checkpoint):
    plan = plan_profile(checkpoint)
    assert plan.source == "made-up tokens"
    assert [(point.batch, point.sequence) for point in plan.grid] == [(1, 32), (1, 128)]
    plan = plan_profile(checkpoint, batch_sizes=(1, 3), sequence_lengths=(7,))
    (one,), (three,) = plan.feeds[0]
    assert [len(row) for row in one["input_ids"]] == [7]
    assert [len(row) for row in three["attention_mask"]] == [7] * 3


def test_texts_go_through_its_own_tokenizer(checkpoint):
    from edgelm.anatomy import load_tokenizer

    plan = plan_profile(checkpoint, data=Dataset("mine.csv", TEXTS[:3]), batch_sizes=(1, 2))
    wanted = load_tokenizer(checkpoint)(list(TEXTS[:3]))["input_ids"]
    assert plan.source == "mine.csv"
    assert [call["input_ids"] for call in plan.feeds[0][0]] == [[ids] for ids in wanted]
    assert [len(call["input_ids"]) for call in plan.feeds[0][1]] == [2, 2]


def test_beside_a_bundle_its_golden_samples_are_read(checkpoint, tmp_path):
    bundle = make_bundle(tmp_path / "b", TextClassification(labels=("negative", "positive")))
    plan = plan_profile(checkpoint, compare=[bundle])
    assert plan.source == "golden samples"
    assert len(plan.feeds[0][0]) == len(plan.feeds[1][0]) == len(plan.texts)


def test_a_model_that_writes_is_planned_alone(tmp_path):
    plan = plan_profile(make_generator(tmp_path / "gpt2", "gpt2"))
    assert {point.measure for point in plan.grid} == {"token", "first-token"}


def test_a_name_of_the_hub_is_looked_for_there(checkpoint, monkeypatch):
    import edgelm.anatomy.hub as hub
    from edgelm.checkpoint import open_checkpoint

    monkeypatch.setattr(hub, "find_checkpoint", lambda name: open_checkpoint(checkpoint))
    found = find_subject("someone/their-model")
    assert (found.name, found.path, found.kind) == ("someone/their-model", checkpoint, "pytorch")


def test_what_needs_a_bundle_is_refused(checkpoint, tmp_path):
    for arguments, words in [
        (["--operators"], "runs in PyTorch: --operators says nothing of it"),
        (["--host", "me@nowhere"], "on a host only bundles and ONNX files"),
        (["--with-estimate", "jetson-orin-nano"], "an estimate is made from a graph"),
    ]:
        result = run(checkpoint, *arguments)
        assert result.exit_code == 2, result.output
        assert words in result.output
    with pytest.raises(DataError, match="reads single texts"):
        plan_profile(checkpoint, data=Dataset("pairs.csv", ("a",), ("b",)))
    with pytest.raises(UsageError, match="reads 2 to 130 tokens"):
        plan_profile(checkpoint, sequence_lengths=(1000,))


@pytest.mark.slow  # several processes that load torch
@pytest.mark.parametrize("kind", ["text-classification", "multiple-choice", "question-answering"])
def test_the_command_measures_it_and_says_what_to_type_next(kind, tmp_path):
    folder = make_checkpoint(tmp_path / "my-model", kind=kind)
    page = tmp_path / "page.html"
    result = run(folder, "--threads", "1", "--runs", "20", "--loads", "1", "--sequence", "16", "--html", page)
    assert result.exit_code == 0, result.output
    assert "Measured on made-up tokens" in result.output
    assert f"edgelm export {folder} --device cpu" in result.output
    assert "my-model" in page.read_text()


@pytest.mark.slow
def test_the_values_of_json_are_those_of_a_bundle(checkpoint, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("text\n" + "\n".join(TEXTS[:4]) + "\n")
    result = run(checkpoint, "--data", rows, "--threads", "1", "--runs", "20", "--loads", "1", "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["profiles"]
    assert (found["kind"], found["precision"]) == ("pytorch", "fp32")
    assert len(found["cases"][0]["samples_ms"]) == 20
    assert found["peak_memory_mb"] > 100
