"""Labels that a model was never trained on: the same scores as transformers' zero-shot classification pipeline."""

import json

import numpy as np
import pytest
import transformers
from bundles import make_bundle
from models import TEXTS
from torch_sessions import make_model, named, random_model
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.errors import UsageError
from edgelm.runtime.zero_shot import classify
from edgelm.tasks.text import SentenceEmbedding, TextClassification

LABELS = ["music", "film review", "weather", "kitchen lights"]
MNLI = ("contradiction", "neutral", "entailment")
ORDERS = [
    MNLI,
    ("entailment", "neutral", "contradiction"),
    ("contradiction", "entailment", "neutral"),
    ("ENTAIL", "not"),
]
TASK = TextClassification(labels=MNLI, pair=True)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def entailing_model(labels):
    settings = {"max_position_embeddings": 130} | named(labels)
    return random_model("ForSequenceClassification", seed=1, **settings)


@pytest.mark.parametrize("labels", ORDERS, ids="-".join)
@pytest.mark.parametrize("multi_label", [False, True])
def test_scores_are_those_of_the_pipeline(labels, multi_label):
    model, tokenizer = entailing_model(labels)
    pipe = transformers.pipeline("zero-shot-classification", model=model, tokenizer=tokenizer, device="cpu")
    bundle = make_model(model, tokenizer, TextClassification(labels=labels, pair=True))
    texts = [*TEXTS[:4], " ".join(TEXTS * 4)]  # the last one is cut; its label is not
    for template in ("This example is {}.", "it is about {}!"):
        answers = classify(bundle, texts, LABELS, template=template, multi_label=multi_label, batch_size=3)
        for text, answer in zip(texts, answers, strict=True):
            wanted = pipe(text, LABELS, hypothesis_template=template, multi_label=multi_label)
            scores = [answer["scores"][label] for label in wanted["labels"]]
            np.testing.assert_allclose(scores, wanted["scores"], atol=1e-5)  # FP64 against FP32
            if multi_label:
                kept = {label for label, score in zip(wanted["labels"], wanted["scores"], strict=True) if score >= 0.5}
                assert set(answer["labels"]) == kept
            else:
                assert answer["label"] == wanted["labels"][0]
                assert answer["score"] == max(scores)


def test_a_lone_label_is_judged_against_contradiction():
    model, tokenizer = entailing_model(MNLI)
    pipe = transformers.pipeline("zero-shot-classification", model=model, tokenizer=tokenizer, device="cpu")
    answer = classify(make_model(model, tokenizer, TASK), TEXTS[0], ["music"])
    assert answer["score"] == pytest.approx(pipe(TEXTS[0], ["music"])["scores"][0], abs=1e-5)


def test_contradiction_is_found_by_its_name_where_it_is_neither_first_nor_last():
    labels = ("neutral", "contradiction", "entailment")
    model, tokenizer = entailing_model(labels)
    bundle = make_model(model, tokenizer, TextClassification(labels=labels, pair=True))
    logits = bundle.infer(bundle.tokenize([(TEXTS[0], "This example is music.")]))[0]
    wanted = 1 / (1 + np.exp(logits[1] - logits[2]))
    assert classify(bundle, TEXTS[0], ["music"], multi_label=True)["scores"]["music"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "template", "words"),
    [
        ([], "{}", "no labels, or one is empty"),
        (["a", " "], "{}", "no labels, or one is empty"),
        ("a,b", "{}", "labels are a list"),
        (["a", 1], "{}", "labels are a list"),
        (["a", "b", "a"], "{}", "'a' stands there twice"),
        (["a"], "about it", "has no place for a label"),
        (["a"], "{0.__class__}", "has no place for a label"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(labels, template, words):
    bundle = make_model(*entailing_model(MNLI), TASK)
    with pytest.raises(UsageError, match=words):
        classify(bundle, TEXTS[0], labels, template=template)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (TextClassification(labels=("negative", "positive"), pair=True), "this one has the labels negative, positive"),
        (TextClassification(labels=MNLI), "does not classify pairs of texts"),
        (TextClassification(labels=MNLI, pair=True, problem="multi-label"), "does not classify pairs of texts"),
        (SentenceEmbedding(), "does not classify pairs of texts"),
    ],
)
def test_a_model_that_cannot_tell_what_follows_is_refused(tmp_path, task, words):
    result = run("run", make_bundle(tmp_path / "b", task), "a film", "--labels", "good,bad")
    assert result.exit_code == 2, result.output
    assert words in result.stderr


def test_the_command_chooses_among_labels(tmp_path):
    folder = make_bundle(tmp_path / "b", TASK)
    said = json.loads(
        run("run", folder, "a film", "--labels", "good, bad", "--template", "the {} film", "--json").stdout
    )
    assert said["text"] == "a film"
    assert list(said["scores"]) == ["good", "bad"]
    assert sum(said["scores"].values()) == pytest.approx(1)
    shown = run("run", folder, "a film", "--labels", "good, bad", "--top", "2").stdout.split()
    assert set(shown[::2]) == {"good", "bad"}
    several = json.loads(run("run", folder, "a film", "--labels", "good,bad", "--multi-label", "--json").stdout)
    assert set(several) == {"text", "labels", "scores"}
    (tmp_path / "texts.txt").write_text("a film\nthe very\tbad film\n")
    lines = run("run", folder, "--file", tmp_path / "texts.txt", "--labels", "good,bad", "--json").stdout.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a film", "the very\tbad film"]
    assert run("run", folder, "a film", "--labels", "good,,bad").exit_code == 2
    assert run("run", folder, "a film", "--labels", "").exit_code == 2
