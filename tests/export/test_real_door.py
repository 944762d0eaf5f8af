"""The runtime answers as transformers' own pipeline does: every family and task, any Unicode text, alone and in
batches."""

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import TEXTS, make_checkpoint
from transformers import AutoModel, AutoTokenizer, pipeline
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.errors import BundleError, DataError, ParityError, UsageError
from edgelm.export import door
from edgelm.export.expected import expected_answers
from edgelm.export.pairs import reads_pairs
from edgelm.export.pipeline import export
from edgelm.runtime.answers.classes import read_answers
from edgelm.runtime.preprocessing import TextProcessing
from edgelm.tasks.text import TextClassification

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.lists(st.sampled_from(TEXTS), max_size=8).map(
    " ".join
)
LENGTH = 32
CASES = {
    "bert-single": ("bert", {}, {}),
    "bert-left": ("bert", {}, {"padding_side": "left", "truncation_side": "left"}),
    "bert-pairs": ("bert", {"labels": ("entailment", "neutral", "contradiction")}, {}),
    "roberta-multi": ("roberta", {"labels": ("a", "b", "c"), "problem": "multi-label"}, {}),
    "xlm-roberta-unigram": ("xlm-roberta", {}, {"unigram": True}),
    "distilbert-regression": ("distilbert", {"labels": ("score",), "problem": "regression"}, {}),
    "roberta-lone": ("roberta", {"labels": ("score",), "problem": "regression"}, {"config": {"problem_type": None}}),
    "bert-values": ("bert", {"labels": ("joy", "fear"), "problem": "regression"}, {}),
    "bert-numbers": ("bert", {}, {"config": {"id2label": {"1": 1, "0": 0}}}),
    "electra-single": ("electra", {"labels": ("a", "b", "c")}, {}),
    "bert-mean": ("bert", {"kind": "sentence-embedding"}, {"padding_side": "left"}),
    "roberta-cls": ("roberta", {"kind": "sentence-embedding"}, {"padding_side": "left", "cls": True}),
}
USUAL = ("bert-pairs", "roberta-multi", "bert-mean")  # each is an export
EVERY = [pytest.param(case, marks=() if case in USUAL else pytest.mark.slow) for case in CASES]


def use_unigram(folder):
    """Put a Unigram tokenizer, as SentencePiece makes them, in the place of the folder's own; its ids stay within the
    model's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = sorted({"\u2581" + word for text in TEXTS for word in text.split()})
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<mask>", 0.0)]
    pieces += [(word, -3.0 - index / 50) for index, word in enumerate(words)] + [
        (letter, -8.0) for letter in "\u2581abcdefghijklmnopqrstuvwxyz"
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.add_special_tokens([piece for piece, _ in pieces[:5]])
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A case's folder and its bundle, exported once."""

    @functools.cache
    def make(case):
        family, options, changes = CASES[case]
        folder = make_checkpoint(tmp_path_factory.mktemp(case) / "m", family, **options)
        changes = dict(changes)
        if changes.pop("unigram", False):
            use_unigram(folder)
        if changes.pop("cls", False):
            (folder / "1_Pooling").mkdir()
            (folder / "1_Pooling" / "config.json").write_text(
                json.dumps(
                    {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
                )
            )
            modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
            parts = [
                {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
                for i, (path, name) in enumerate(modules)
            ]
            (folder / "modules.json").write_text(json.dumps(parts))
        for name, values in (("config.json", changes.pop("config", {})), ("tokenizer_config.json", changes)):
            (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | values))
        export(folder, output=folder.parent / "b", device=load_device("cpu"), precision="fp32", max_length=LENGTH)
        return folder, edgelm.runtime.load(folder.parent / "b")

    return make


@functools.cache
def transformers_door(folder, case):
    """The scores by label, or the sentence vector, that transformers gives for one text."""
    _, options, _ = CASES[case]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cut = {"truncation": True, "max_length": LENGTH}
    if options.get("kind") != "sentence-embedding":
        classify = pipeline("text-classification", model=str(folder), tokenizer=tokenizer, top_k=None, device="cpu")

        def scores(text):
            given = {"text": text[0], "text_pair": text[1]} if isinstance(text, tuple) else text
            found = classify(given, **cut)
            return {
                str(entry["label"]): entry["score"] for entry in (found[0] if isinstance(found[0], list) else found)
            }

        return scores
    model = AutoModel.from_pretrained(folder).eval()

    def vector(text):
        with torch.inference_mode():
            tokens = model(**tokenizer(text, return_tensors="pt", **cut)).last_hidden_state[0].numpy()
        pooled = tokens[0] if "cls" in case else tokens.mean(axis=0)
        return {str(index): value for index, value in enumerate(pooled / np.linalg.norm(pooled))}

    return vector


def said(answer, labels):
    """An answer's numbers by label."""
    if "embedding" in answer:
        return {str(index): value for index, value in enumerate(answer["embedding"])}
    return answer["scores"] if "scores" in answer else {labels[0]: answer["score"]}


@pytest.mark.parametrize("case", EVERY)
def test_the_runtime_answers_as_the_pipeline_alone_and_in_batches(made, case):
    folder, model = made(case)
    theirs = transformers_door(folder, case)
    pair = "pairs" in case
    texts = st.tuples(ANY, ANY.filter(bool)) if pair else ANY  # the pipeline takes an empty second text for none

    @settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(texts, min_size=1, max_size=4))
    def check(rows):
        wanted = [theirs(row) for row in rows]
        for found in (model(rows), [model(row) for row in rows]):
            for answer, scores in zip(found, wanted, strict=True):
                numbers = said(answer, model.manifest.task.labels)
                assert numbers.keys() == scores.keys()
                np.testing.assert_allclose(
                    [numbers[name] for name in scores], list(scores.values()), atol=1e-4, rtol=1e-3
                )  # FP32, other kernels

    check()


def test_a_model_that_gives_its_outputs_without_names_is_exported(tmp_path):
    folder = make_checkpoint(tmp_path / "m")
    text, wanted = TEXTS[0], pipeline("text-classification", model=str(folder), device="cpu")(TEXTS[0])[0]["score"]
    (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()) | {"return_dict": False})
    )
    export(folder, output=tmp_path / "b", device=load_device("cpu"), precision="fp32", max_length=LENGTH)
    assert edgelm.runtime.load(tmp_path / "b")(text)["score"] == pytest.approx(wanted, abs=1e-5)  # FP32, other kernels


def test_all_values_of_a_regression_are_shown(made):
    folder, model = made("bert-values")
    shown = CliRunner().invoke(app, ["run", str(folder.parent / "b"), TEXTS[0]]).output
    assert shown.strip() == "  ".join(f"{label} {value:.4f}" for label, value in model(TEXTS[0])["scores"].items())


def test_a_bundle_that_answers_otherwise_is_refused_and_leaves_nothing(made, tmp_path, monkeypatch):
    """A runtime that cuts or pads otherwise than transformers, as one without the sides did."""
    folder, _ = made("bert-left")
    monkeypatch.setattr(
        "edgelm.export.finish.tokenization_of", lambda *given: replace(tokenization(*given), truncation_side="right")
    )
    with pytest.raises(ParityError, match=r"input_ids of .* are not those of the Hugging Face tokenizer"):
        export(folder, output=tmp_path / "b", device=load_device("cpu"), precision="fp32", max_length=LENGTH)
    assert not list(tmp_path.iterdir())


def tokenization(tokenizer, max_length):
    return TextProcessing(max_length, tokenizer.pad_token_id, tokenizer.pad_token)


def expected_of(folder, texts):
    checkpoint = open_checkpoint(folder)
    return expected_answers(
        TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.task, LENGTH), texts
    )


@pytest.mark.parametrize(
    ("wrong", "words"), [("outputs", "is off by"), ("scores", "labels and scores"), ("nan", "off by nan")]
)
def test_what_differs_is_named(made, wrong, words):
    folder, _ = made("bert-single")
    right = expected_of(folder, TEXTS)
    changed = {
        "outputs": replace(right, outputs=[found + 0.5 for found in right.outputs]),
        "scores": replace(right, answers=[{"negative": 0.5, "positive": 0.5}] * len(TEXTS)),
        "nan": replace(right, outputs=[found * np.nan for found in right.outputs]),
    }[wrong]
    door.check_door(folder.parent / "b", right, right, precision="fp32")
    with pytest.raises(ParityError, match=words):
        door.check_door(folder.parent / "b", right, changed, precision="fp32")


def test_hard_texts_are_many_kinds_and_long():
    texts = door.hard_texts(TEXTS, TextClassification())
    assert {"", " \t ", "zero\0byte"} < set(texts)
    assert len(texts[-1]) == 100_000
    assert all(isinstance(text, tuple) for text in door.hard_texts([("a", "b")], TextClassification(pair=True)))


def test_the_manifest_says_how_many_hard_texts_were_answered(made):
    assert made("bert-single")[1].manifest.graph().parity.hard_texts == 8
    assert made("bert-single")[1].manifest.schema == 4


def test_no_number_is_no_answer():
    with pytest.raises(BundleError, match="not a number"):
        read_answers(TextClassification(labels=("a", "b")), np.array([[0.0, np.nan]]))


def test_half_a_surrogate_pair_is_refused_in_words(made):
    for texts in ("a\ud800", ["a", "a\ud800"]):
        with pytest.raises(DataError, match="surrogate"):
            made("bert-single")[1](texts)


@pytest.mark.parametrize(
    ("case", "text", "option"), [("bert-single", ("a", "b"), "--pairs"), ("bert-pairs", "a", "--no-pairs")]
)
def test_a_text_of_the_other_kind_is_told_the_option_of_export(made, case, text, option):
    with pytest.raises(UsageError) as error:
        made(case)[1](text)
    assert option in error.value.hint


PAIRS = Dataset("pairs.csv", texts=TEXTS, pairs=TEXTS[::-1])
SINGLE = Dataset("single.csv", texts=TEXTS)
NLI = ("entailment", "neutral", "contradiction")


def test_a_guess_from_labels_is_said_with_the_option_that_decides_otherwise(tmp_path):
    folder = make_checkpoint(tmp_path / "m", labels=NLI)
    result = CliRunner().invoke(app, ["export", str(folder), "--precision", "fp32", "--output", str(tmp_path / "b")])
    assert result.exit_code == 0, result.output
    assert "--no-pairs" in result.output
    assert edgelm.runtime.open_bundle(tmp_path / "b").manifest.task.pair


@pytest.mark.parametrize(
    ("labels", "remembered", "option", "data", "pair"),
    [
        (NLI, False, None, [], True),
        (NLI, False, False, [], False),
        (NLI, False, None, [SINGLE], False),
        (("a", "b"), False, None, [], False),
        (("a", "b"), False, True, [], True),
        (("a", "b"), False, None, [PAIRS], True),
        (("a", "b"), True, None, [], True),
        (("a", "b"), True, False, [SINGLE], False),
    ],
)
def test_the_option_the_checkpoint_the_data_and_the_labels_say_whether_texts_come_in_pairs(
    labels, remembered, option, data, pair
):
    assert reads_pairs(TextClassification(labels=labels, pair=remembered), option, *data) is pair


@pytest.mark.parametrize(
    ("pairs", "rows", "words"),
    [(True, SINGLE, r"single.csv has single texts.*--pairs"), (False, PAIRS, r"pairs.csv has pairs.*--no-pairs")],
)
def test_data_that_contradict_the_option_are_refused(tmp_path, pairs, rows, words):
    with pytest.raises(DataError, match=words):
        export(
            make_checkpoint(tmp_path / "m"),
            output=tmp_path / "b",
            device=load_device("cpu"),
            pairs=pairs,
            calibration=rows,
        )


def test_a_sentence_encoder_reads_no_pairs(tmp_path):
    folder = make_checkpoint(tmp_path / "m", kind="sentence-embedding")
    with pytest.raises(UsageError, match="single texts"):
        export(folder, output=tmp_path / "b", device=load_device("cpu"), pairs=True)


def test_a_length_that_was_asked_for_holds_beyond_the_tokenizers_own(tmp_path):
    """A tokenizer may cut sooner than the model must, such as that of a sentence encoder."""
    folder = make_checkpoint(tmp_path / "model")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 8}))
    data = Dataset("memory", texts=TEXTS * 2)
    export(
        folder, output=tmp_path / "b.edge", device=load_device("cpu"), precision="fp32", calibration=data, max_length=24
    )
    model = edgelm.runtime.load(tmp_path / "b.edge")
    assert model.tokenize([" ".join(TEXTS)])["input_ids"].shape == (1, 24)
