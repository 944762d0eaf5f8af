"""Answers to questions are those of transformers' published question answering algorithm, over the same windows."""

import numpy as np
import pytest
import torch
from models import TEXTS, make_tokenizer
from torch_sessions import make_model, random_model
from transformers.pipelines.document_question_answering import select_starts_ends

from edgelm.errors import DataError, UsageError
from edgelm.tasks.text import QuestionAnswering

BEST = 20
LONG = " ".join(TEXTS) + " unheardwords, zebra! " + " ".join(reversed(TEXTS))
QUESTIONS = ("what is it going to do?", "lights?", "who turns the kitchen lights on and off")


def answering_model(family="bert", seed=0):
    return random_model("ForQuestionAnswering", family, spread=0.4, seed=seed, max_position_embeddings=140)


def reference(model, tokenizer, question, text, *, max_length, stride, longest, null_answers):
    """Answers with their scores as the question answering pipeline of transformers 4 finds them, each place once.

    Version 5 has no such pipeline, but its selection of spans is still there, in document question answering.
    """
    encoded = tokenizer(
        question,
        text,
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
    )
    found, nothing = {}, 1000000
    for index, encoding in enumerate(encoded.encodings):
        feeds = {name: torch.tensor([encoded[name][index]]) for name in tokenizer.model_input_names}
        with torch.inference_mode():
            outputs = model(**feeds)
        hidden = [number != 1 for number in encoding.sequence_ids]
        for place, token in enumerate(encoding.ids):
            if token == tokenizer.cls_token_id:
                hidden[place] = False
        starts, ends, scores, nothing = select_starts_ends(
            outputs.start_logits.numpy(),
            outputs.end_logits.numpy(),
            np.array([hidden], dtype=int),
            feeds["attention_mask"].numpy(),
            nothing,
            BEST,
            null_answers,
            longest,
        )
        for start, end, score in zip(starts, ends, scores, strict=True):
            if score == 0:  # what may be no answer: too long, from behind its end, or the first token
                continue
            words = encoding.token_to_word(start), encoding.token_to_word(end)
            begin, end = encoding.word_to_chars(words[0], 1)[0], encoding.word_to_chars(words[1], 1)[1]
            place = begin + text[begin].isspace(), end  # a byte-level token at the beginning of a window has its space
            found[place] = max(float(score), found.get(place, 0.0))
    if null_answers:
        found[0, 0] = nothing
    return sorted(found.items(), key=lambda item: -item[1])[:BEST], len(encoded.encodings)


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("null_answers", [False, True])
@pytest.mark.parametrize(("max_length", "stride", "longest"), [(40, 8, 15), (128, 32, 3), (48, 0, 1)])
def test_answers_and_n_best_are_those_of_the_published_algorithm(family, null_answers, max_length, stride, longest):
    model, tokenizer = answering_model(family)
    task = QuestionAnswering(stride=stride, max_answer_tokens=longest, null_answers=null_answers)
    bundle = make_model(model, tokenizer, task, max_length=max_length)
    samples = [(question, text) for question in QUESTIONS for text in (LONG, TEXTS[0], "Film.")]
    windows = 0
    for sample, answer in zip(samples, bundle(samples), strict=True):
        wanted, count = reference(
            model,
            tokenizer,
            *sample,
            max_length=max_length,
            stride=stride,
            longest=longest,
            null_answers=null_answers,
        )
        windows += count
        assert (answer["start"], answer["end"]) == wanted[0][0]
        assert answer["answer"] == sample[1][answer["start"] : answer["end"]]
        # the reference's shares are FP32, the runtime's FP64; batches sum in another order
        np.testing.assert_allclose(
            [entry["score"] for entry in answer["best"]], [score for _, score in wanted], atol=1e-5
        )
        assert answer["best"][0] == {name: answer[name] for name in ("answer", "score", "start", "end")}
    assert bundle.tokenize(samples)["input_ids"].shape[0] == windows > len(samples)


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("max_length", "stride"), [(40, 8), (40, 1), (30, 5), (64, 0)])
def test_windows_are_those_of_the_tokenizer(family, side, max_length, stride):
    model, tokenizer = answering_model(family)
    bundle = make_model(model, tokenizer, QuestionAnswering(stride=stride), max_length=max_length, side=side)
    batch = bundle.tokenize([(QUESTIONS[0], LONG)])
    tokenizer.truncation_side = side
    wanted = tokenizer(
        QUESTIONS[0],
        LONG,
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        padding=True,
        return_tensors="np",
    )
    for name, values in batch.items():
        assert values.tolist() == wanted[name].tolist()
    for window, encoding in zip(batch.context.sequences, wanted.encodings, strict=True):
        first = window.sequence_ids.index(1)  # byte-level tokenizers leave the space before this one
        length = sum(encoding.attention_mask)
        assert window.offsets[:first] + window.offsets[first + 1 :] == (
            encoding.offsets[:first] + encoding.offsets[first + 1 : length]
        )
        assert window.word_ids == encoding.word_ids[:length]


def test_a_stride_that_leaves_no_way_forward_becomes_half_a_window():
    """128 tokens in common do not fit into windows of 24: the tokenizers library panics there."""
    bundle = make_model(*answering_model(), QuestionAnswering(stride=128), max_length=24)
    batch = bundle.tokenize([(QUESTIONS[1], LONG)])
    starts = [window.offsets[window.sequence_ids.index(1)] for window in batch.context.sequences]
    assert starts == sorted(set(starts))
    covered = {place for window in batch.context.sequences for place in window.offsets}
    assert len(covered) >= len(set(make_tokenizer()(LONG, return_offsets_mapping=True)["offset_mapping"]))


def test_many_windows_are_answered_in_several_calls_of_the_graph():
    bundle = make_model(*answering_model(), QuestionAnswering(stride=4), max_length=24)
    batch = bundle.tokenize([(QUESTIONS[1], LONG * 12)])
    outputs = bundle.infer(batch)
    assert outputs.shape == (*batch["input_ids"].shape, 2)
    assert len(bundle.session.shapes) > 1
    assert max(rows for rows, _ in bundle.session.shapes) <= 64
    assert bundle.read(outputs, batch)[0]["answer"]


def test_a_dictionary_says_the_same_as_a_pair():
    bundle = make_model(*answering_model(), QuestionAnswering())
    sample = {"question": QUESTIONS[0], "context": LONG}
    assert bundle(sample) == bundle((QUESTIONS[0], LONG)) == bundle([sample])[0]


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (("", "a text"), "the question is empty"),
        (("a question", " \n"), "the text to search is empty"),
        (("\u200b\x00", "a text"), "the question becomes no token"),
        (("a question", "\x00"), "the text to search becomes no token"),
        (("film " * 40, "a text"), "the question has 40 tokens; a window of 40 has no room"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_what_to_do(sample, words):
    bundle = make_model(*answering_model(), QuestionAnswering(), max_length=40)
    with pytest.raises(DataError, match=words) as refused:
        bundle(sample)
    assert refused.value.hint


@pytest.mark.parametrize(
    "sample", ["one text", ("a", "b", "c"), {"question": "a"}, ("a", 7), {"question": "a", "context": None}]
)
def test_what_is_no_question_with_a_text_is_refused(sample):
    with pytest.raises(UsageError, match="a question and a text that answers it"):
        make_model(*answering_model(), QuestionAnswering())(sample)
