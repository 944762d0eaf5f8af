"""The ending of a text is the one that transformers' model of multiple choice gives."""

import json

import numpy as np
import pytest
import torch
from models import TEXTS, make_tokenizer
from torch_sessions import EndingsSession, make_model, random_model

from edgelm.errors import DataError, UsageError
from edgelm.tasks.text import MultipleChoice

SAMPLES = [
    (TEXTS[0], (TEXTS[1], TEXTS[2], "nothing")),
    (TEXTS[3], ("it rains", TEXTS[5])),
    (TEXTS[6], tuple(TEXTS[:5])),
]


@pytest.fixture(scope="module")
def made():
    return random_model("ForMultipleChoice", spread=0.4)


def test_choices_are_those_of_the_model_whatever_their_number(made):
    model, tokenizer = made
    bundle = make_model(model, tokenizer, MultipleChoice(), session=EndingsSession)
    for sample, together in zip(SAMPLES, bundle(SAMPLES), strict=True):
        text, endings = sample
        encoded = tokenizer([text] * len(endings), list(endings), padding=True, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**{name: values[None] for name, values in encoded.items()}).logits
        wanted = logits.softmax(-1)[0].numpy()
        for answer in (bundle(sample), bundle({"text": text, "choices": list(endings)}), together):
            # shares of FP32 against FP64
            np.testing.assert_allclose(answer["scores"], wanted, atol=1e-5)
            assert answer["index"] == wanted.argmax()
            assert answer["choice"] == endings[answer["index"]]
            assert answer["score"] == max(answer["scores"])
            assert json.loads(json.dumps(answer)) == answer


def test_every_ending_is_a_sequence_of_its_own(made):
    bundle = make_model(*made, MultipleChoice(), session=EndingsSession)
    batch = bundle.tokenize(SAMPLES)
    assert batch.samples == 3
    assert batch.context.owners == (0, 0, 0, 1, 1, 2, 2, 2, 2, 2)
    assert bundle.infer(batch).shape == (10, 1)


@pytest.mark.parametrize("sample", ["text", ("text", "ending"), ("text", ("one",)), ("text", ("a", 1)), {"text": "a"}])
def test_what_is_no_text_with_endings_is_refused(made, sample):
    with pytest.raises(UsageError, match="at least two endings"):
        make_model(*made, MultipleChoice(), session=EndingsSession)(sample)


def test_an_empty_ending_is_refused(made):
    with pytest.raises(DataError, match="an ending of 'a' is empty"):
        make_model(*made, MultipleChoice(), session=EndingsSession)(("a", ("b", " ")))


def test_endings_of_unlike_lengths_need_a_graph_that_reads_a_mask(made):
    tokenizer = make_tokenizer()
    tokenizer.model_input_names = ["input_ids"]  # what a bundle reads that was exported with --single
    bundle = make_model(made[0], tokenizer, MultipleChoice(), session=EndingsSession)
    with pytest.raises(UsageError, match="exported for one text at a time") as refused:
        bundle(SAMPLES[0])
    assert refused.value.hint == "Export it without --single."
