"""What a budget that is not met advises: ways that are open, and none that was gone already."""

import re

import pytest

from edgelm.budgeting.advice import advise
from edgelm.checkpoint import KeptTokens, Record, StageRecord
from edgelm.device import load_device
from edgelm.recipe import load_recipe, override
from edgelm.tasks.text import TextClassification

CPU = load_device("cpu")
TASK = TextClassification(labels=("a", "b"))
TOKENS = KeptTokens(kept=10, original=20, saved_mb=1.0, covered_texts=1.0, covered_tokens=1.0)


def record_of(recipe, **changes):
    """A record as after the stages of a shipped recipe."""
    stages = [stage.model_dump(mode="json") for stage in load_recipe(recipe).stages]
    done = tuple(StageRecord(values.pop("stage"), values, 0, {}, {}, 1, 1.0) for values in stages)
    return Record(TASK, "m", stages=done, **changes)


@pytest.mark.parametrize(
    ("changes", "precision", "named", "unnamed"),
    [
        (
            {},
            "int8",
            ["stage vocabulary", "embeddings in 4 bits", "--precision int4", "shape.hidden"],
            ["--precision int8"],
        ),
        (
            {"tokens": TOKENS, "embedding_bits": 4},
            "int8",
            ["vocabulary.frequent", "--precision int4"],
            ["stage vocabulary", "stage embeddings"],
        ),
        ({"tokens": TOKENS, "embedding_bits": 4}, "int4", ["vocabulary.max_tokens"], ["--precision", "in 4 bits"]),
        ({}, "fp32", ["stage vocabulary", "--precision int8"], ["in 4 bits"]),
    ],
)
def test_a_smaller_model_is_had_by_what_was_not_done_yet(changes, precision, named, unnamed):
    for name, asked in (("size", 1.0), ("memory", 100.0)):
        advice = advise(name, asked, record_of("compact", **changes), precision, CPU, layers=1)
        assert all(words in advice for words in named)
        assert not any(words in advice for words in unnamed)


def test_what_a_gpu_does_not_run_is_not_advised():
    advice = advise("size", 1.0, record_of("budget"), "int8", load_device("jetson-orin-nano"), layers=1)
    assert "stage vocabulary" in advice
    assert not any(words in advice for words in ("in 4 bits", "int4"))


def test_below_what_a_python_process_takes_no_model_helps():
    assert "C++" in advise("memory", 50.0, record_of("compact"), "int8", CPU, layers=1)
    assert "vocabulary" not in advise("memory", 50.0, record_of("compact"), "int8", CPU, layers=1)


def test_a_model_of_more_than_one_layer_is_too_slow_by_a_measurement_only():
    assert "measurements swing" in advise("latency", 1.0, record_of("budget"), "int8", CPU, layers=2)
    least = advise("latency", 1.0, record_of("budget"), "fp32", CPU, layers=1)
    assert "measurements" not in least
    assert all(words in least for words in ("--precision int8", "--max-length", "shape.hidden"))


def test_a_longer_training_is_had_by_the_setting_that_counts():
    assert "recover.train.max_steps" in advise(
        "drop", 0.0, record_of("budget"), "int8", CPU, layers=2
    )  # its epochs count for nothing
    assert "recover.train.epochs" in advise("drop", 0.0, record_of("balanced"), "int8", CPU, layers=2)
    assert "--recipe budget" in advise("drop", 0.0, record_of("one-shot"), "int8", CPU, layers=2)


def test_texts_that_were_given_are_not_asked_for():
    assert "--unlabelled" in advise("drop", 0.0, record_of("budget"), "int8", CPU, layers=2)
    assert "--unlabelled" not in advise(
        "drop", 0.0, record_of("budget", data={"unlabelled": {}}), "int8", CPU, layers=2
    )


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_whatever_is_advised_can_be_done(precision):
    """Options are those of compress, recipes and stages are there, and every setting is one that `--set` takes."""
    import typer

    from edgelm.cli.main import app

    options = {name for parameter in typer.main.get_command(app).commands["compress"].params for name in parameter.opts}
    stages = {"distill": "distill", "vocabulary": "compact", "recover": "budget", "fit": "budget"}
    advised = [
        advise(name, asked, record_of(recipe, **changes), precision, CPU, layers=2)
        for name, asked in (("latency", 1.0), ("size", 1.0), ("memory", 100.0), ("drop", 0.0))
        for recipe in ("budget", "compact", "balanced", "one-shot")
        for changes in ({}, {"tokens": TOKENS, "embedding_bits": 4})
    ]
    for text in advised:
        assert set(re.findall(r"--[a-z-]+[a-z]", text)) <= options
        for recipe in re.findall(r"(?:in recipe|--recipe) (\w+)", text):
            named = {stage.stage for stage in load_recipe(recipe).stages}
            if recipe == "compact":
                assert named >= {"vocabulary", "embeddings"}
        for stage, setting in re.findall(r"(\w+)\.(train\.\w+|frequent|max_tokens)", text):
            override(load_recipe(stages[stage]), [f"{stage}.{setting}=5"])
