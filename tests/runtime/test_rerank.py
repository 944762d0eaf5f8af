"""Texts in the order in which they fit a query, as a cross-encoder of transformers scores them."""

import json

import numpy as np
import pytest
import torch
from bundles import make_bundle
from models import TEXTS
from torch_sessions import make_model, random_model
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.errors import UsageError
from edgelm.runtime.rerank import rank
from edgelm.tasks.text import SentenceEmbedding, TextClassification

VALUE = TextClassification(problem="regression", labels=("score",), pair=True)
SQUASHED = TextClassification(problem="regression", labels=("score",), pair=True, activation="sigmoid")
LONE = TextClassification(labels=("fits",), pair=True)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def made():
    return random_model("ForSequenceClassification", num_labels=1)


@pytest.mark.parametrize("task", [VALUE, SQUASHED, LONE], ids=["value", "sigmoid", "one label"])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_texts_are_ranked_as_the_model_scores_them_one_by_one(made, task, batch_size):
    model, tokenizer = made
    query, texts = "some quiet music", [*TEXTS, "short", TEXTS[0]]
    scores = []
    for text in texts:
        with torch.inference_mode():
            logit = model(**tokenizer(query, text, return_tensors="pt")).logits[0, 0]
        scores.append(float(logit if task is VALUE else logit.sigmoid()))
    found = rank(make_model(model, tokenizer, task), query, texts, batch_size=batch_size)
    # by text: two are the same, and in batches with other padding their sums may differ in the last bit
    assert [entry["text"] for entry in found] == [
        texts[index] for index in sorted(range(len(texts)), key=lambda index: -scores[index])
    ]
    assert [texts[entry["index"]] for entry in found] == [entry["text"] for entry in found]
    # sums of padded batches stand in another order
    np.testing.assert_allclose([entry["score"] for entry in found], sorted(scores, reverse=True), atol=1e-5)
    assert rank(make_model(model, tokenizer, task), query, texts, batch_size=batch_size, top=3) == found[:3]


def test_texts_of_like_length_are_read_together(made):
    bundle = make_model(*made, VALUE)
    texts = ["film", "what a wonderful and moving film this is " * 4] * 8
    rank(bundle, "music", texts, batch_size=8)
    lengths = [tokens for _, tokens in bundle.session.shapes]
    assert lengths[0] < lengths[1] / 4
    assert rank(bundle, "music", []) == []


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (TextClassification(labels=("no", "yes"), pair=True), "text-classification with 2 labels"),
        (TextClassification(problem="regression", labels=("score",)), "reads two texts and gives them one score"),
        (SentenceEmbedding(), "sentence-embedding"),
    ],
)
def test_a_model_that_gives_no_score_of_a_pair_is_refused(tmp_path, task, words):
    result = run("run", make_bundle(tmp_path / "b", task), "a film", "--query", "good")
    assert result.exit_code == 2, result.output
    assert words in result.stderr


def test_an_empty_query_and_sizes_below_one_are_refused(made):
    bundle = make_model(*made, VALUE)
    for changes, words in (
        ({"query": " "}, "query is empty"),
        ({"top": 0}, "at least one"),
        ({"batch_size": 0}, "at least"),
    ):
        with pytest.raises(UsageError, match=words):
            rank(bundle, **{"query": "a", "texts": ["b"]} | changes)


def test_the_command_sorts_texts_and_files(tmp_path):
    folder = make_bundle(tmp_path / "b", VALUE)
    (tmp_path / "texts.txt").write_text("good\tfilm\nbad film\n")
    lines = run("run", folder, "the film", "--query", "good", "--file", tmp_path / "texts.txt", "--json").stdout
    found = [json.loads(line) for line in lines.splitlines()]
    assert sorted(entry["index"] for entry in found) == [0, 1, 2]
    assert [entry["score"] for entry in found] == sorted((entry["score"] for entry in found), reverse=True)
    assert {entry["text"] for entry in found} == {"the film", "good\tfilm", "bad film"}
    shown = run("run", folder, "the film", "bad", "--query", "good", "--top", "1").stdout
    assert len(shown.splitlines()) == 1
