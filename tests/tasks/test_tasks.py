"""Every kind of task has all that a task needs: rows, a metric, a class of transformers, an answer."""

import json
from dataclasses import fields

import pytest
import transformers

from edgelm.data.schemas import SCHEMAS
from edgelm.errors import UsageError
from edgelm.runtime.answers.table import READERS
from edgelm.tasks.generation import GenerationSettings, Summarization, TextGeneration, Translation
from edgelm.tasks.table import TASKS, make_task, task_from_dict
from edgelm.tasks.text import (
    FillMask,
    MultipleChoice,
    QuestionAnswering,
    SentenceEmbedding,
    TextClassification,
    TokenClassification,
)

SAMPLES = (
    TextClassification(labels=("a", "b"), pair=True),
    TextClassification("multi-label", ("a", "b")),
    TextClassification("regression", ("score",), activation="sigmoid"),
    SentenceEmbedding("cls+max", False, ("Dense 4 to 2, Tanh",), 2, "query: "),
    TokenClassification(("O", "B-X", "I-X"), "max"),
    QuestionAnswering(32, 10, True),
    MultipleChoice(4),
    FillMask("<mask>", 3),
    TextGeneration(GenerationSettings(eos_ids=(2, 3), stop=("END",), temperature=0.5), "{{ messages }}", 128),
    Translation(GenerationSettings(num_beams=4, bad_ids=(7,), forced_bos_id=5), "to German: ", "en", "de"),
    Summarization(GenerationSettings(seed=1, pad_id=0, decoder_start_id=0), "summarize: "),
)


@pytest.mark.parametrize("kind", TASKS)
def test_a_kind_has_rows_a_class_and_a_reader_of_answers(kind):
    task = TASKS[kind]
    assert task.kind == kind
    assert task.schema in SCHEMAS
    assert hasattr(transformers, "AutoModel" + task.architecture.removeprefix("Model"))
    assert kind in READERS or task.generates  # whose answers are written token by token, not read out of one output
    assert task.__doc__


@pytest.mark.parametrize("task", SAMPLES, ids=lambda task: f"{task.kind}-{task.output}")
def test_a_task_comes_back_from_json_as_it_was(task):
    assert task_from_dict(json.loads(json.dumps(task.to_dict()))) == task
    assert task.metric


def test_a_task_of_an_older_version_has_the_fields_of_every_kind_and_is_read():
    old = {"kind": "text-classification", "problem": "multi-label", "labels": ["a", "b"], "pair": False}
    old |= {"pooling": "mean", "normalize": True, "head": [], "dimensions": None, "prompt": "", "activation": ""}
    assert task_from_dict(old) == TextClassification("multi-label", ("a", "b"))
    assert task_from_dict(old | {"kind": "sentence-embedding", "pooling": "cls"}) == SentenceEmbedding("cls")


def test_an_unknown_kind_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match="token-classification"):
        make_task("face-recognition")


def test_every_sample_is_of_another_class_than_the_base():
    assert {type(task) for task in SAMPLES} == set(TASKS.values())
    assert all("kind" not in {field.name for field in fields(task)} for task in SAMPLES)


def test_settings_that_are_left_out_of_json_are_the_usual_ones_and_unknown_ones_are_left_out():
    task = task_from_dict({"kind": "translation", "settings": {"num_beams": 2, "of_a_later_version": 1}})
    assert task == Translation(GenerationSettings(num_beams=2))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, "min_new_tokens is 5"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_beams": 2, "do_sample": True}, "exclude each other"),
    ],
)
def test_settings_that_nothing_can_follow_are_refused_by_name(values, words):
    with pytest.raises(UsageError, match=words):
        GenerationSettings(**values)
