"""Entities are those of transformers' token classification pipeline: same parts, same scores."""

import itertools

import numpy as np
import pytest
import torch
import transformers
from models import TEXTS
from torch_sessions import make_model, named, random_model

from edgelm.errors import UsageError
from edgelm.tasks.text import AGGREGATIONS, TokenClassification

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC")
BIOES = ("O", *(f"{place}-{kind}" for place in "BIES" for kind in ("PER", "LOC")))
HARD = (
    "",
    "...",
    "Turn  the KITCHEN lights-on, unheardwords and zebra!",
    "a \N{GRINNING FACE} film",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait",
    "what a long film it is " * 40,
)


def tagging_model(family="bert", labels=BIO, seed=0):
    settings = {"max_position_embeddings": 140} | named(labels)
    return random_model("ForTokenClassification", family, spread=0.5, seed=seed, **settings)


@pytest.fixture(scope="module", params=["bert", "distilbert", "roberta"])
def made(request):
    return tagging_model(request.param)


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_entities_are_those_of_the_pipeline(made, aggregation):
    model, tokenizer = made
    pipe = transformers.pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy=aggregation, device="cpu"
    )
    bundle = make_model(model, tokenizer, TokenClassification(BIO, aggregation))
    texts = [*TEXTS, *HARD]
    found_any = False
    for text, together in zip(texts, bundle(texts), strict=True):
        wanted = pipe(text)
        for answer in (bundle(text), together):
            found = answer["entities"]
            key = [(entity["entity"], entity["start"], entity["end"]) for entity in found]
            assert key == [(entity["entity_group"], entity["start"], entity["end"]) for entity in wanted]
            # the pipeline's shares are FP32, the runtime's FP64; batches sum in another order
            scores = [entity["score"] for entity in found]
            np.testing.assert_allclose(scores, [entity["score"] for entity in wanted], atol=1e-5)
            assert all(entity["text"] == text[entity["start"] : entity["end"]] for entity in found)
            found_any |= bool(found)
    assert found_any


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_words_that_were_given_have_the_entities_of_the_pipeline(aggregation):
    """Where the tokenizer leaves words whole or in marked pieces, the words are those of the pipeline."""
    model, tokenizer = tagging_model()
    pipe = transformers.pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy=aggregation, device="cpu"
    )
    bundle = make_model(model, tokenizer, TokenClassification(BIO, aggregation))
    for text in ("turn the zebras lights on", "what a wonderful unheard film", "nobody answers after twentyone days"):
        words = tuple(text.split())
        answer, wanted = bundle(words), pipe(list(words), is_split_into_words=True)[0]
        ends = list(itertools.accumulate(len(word) + 1 for word in words))
        starts = [0, *ends]
        found = [(entity["entity"], starts[entity["words"][0]]) for entity in answer["entities"]]
        if aggregation != "simple":  # there an entity may begin inside a word
            assert found == [(entity["entity_group"], entity["start"]) for entity in wanted]
        scores = [entity["score"] for entity in answer["entities"]]
        np.testing.assert_allclose(scores, [entity["score"] for entity in wanted], atol=1e-5)
        assert len(answer["tags"]) == len(words)


def test_a_word_has_the_tag_of_its_first_sub_token_and_o_behind_the_longest_sequence():
    model, tokenizer = tagging_model()
    bundle = make_model(model, tokenizer, TokenClassification(BIO), max_length=12)
    words = ("turn", "the", "zebra", "lights", "U.S.", "on", "film", "film", "film", "film")
    encoded = tokenizer([list(words)], is_split_into_words=True, truncation=True, max_length=12, return_tensors="pt")
    with torch.inference_mode():
        rows = model(**encoded).logits[0].argmax(-1).tolist()
    wanted = ["O"] * len(words)
    for token, word in reversed(list(enumerate(encoded.word_ids(0)))):
        if word is not None:
            wanted[word] = BIO[rows[token]]
    answer = bundle(words)
    assert answer["tags"] == wanted
    assert answer["tags"][-3:] == ["O"] * 3
    assert bundle.tokenize([words])["input_ids"].tolist() == encoded["input_ids"].tolist()
    assert all(0 <= first < end <= len(words) for first, end in (entity["words"] for entity in answer["entities"]))


def test_texts_and_words_stand_in_one_batch():
    model, tokenizer = tagging_model()
    bundle = make_model(model, tokenizer, TokenClassification(BIO))
    samples = ["turn the lights on", ("turn", "the", "lights", "on"), "a film"]
    together = bundle(samples)
    for sample, answer in zip(samples, together, strict=True):
        alone = bundle(sample)
        assert ("tags" in answer) == isinstance(sample, tuple)
        assert [entity["words"] for entity in answer["entities"]] == [entity["words"] for entity in alone["entities"]]


def chunks(tags):
    """The entities of tags by the rules of conlleval, as seqeval restates them: type, first word, end word."""
    found, start = [], 0
    for index in range(len(tags) + 1):
        before = tags[index - 1] if index else "O"
        tag = tags[index] if index < len(tags) else "O"
        (last, last_kind), (place, kind) = ((each[0], each.partition("-")[2]) for each in (before, tag))
        ends = last in "ES" or (last in "BI" and place in "BSO") or (last != "O" and kind != last_kind)
        begins = place in "BS" or (last in "ESO" and place in "EI") or (place != "O" and kind != last_kind)
        if last != "O" and ends:
            found.append((last_kind, start, index))
        if begins:
            start = index
    return found


def test_tags_with_endings_are_joined_by_the_rules_of_conlleval():
    """Every sequence of four of nine tags, as a model would give them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = {label: index for index, label in enumerate((*BIOES, "[PAD]"))}
    backend = Tokenizer(models.WordLevel(tokens, unk_token="[PAD]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", model_input_names=["input_ids", "attention_mask"]
    )

    class Copies(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return {"logits": torch.nn.functional.one_hot(input_ids, len(BIOES)).float()}

    bundle = make_model(Copies(), tokenizer, TokenClassification(BIOES))
    samples = list(itertools.product(BIOES, repeat=4))
    for tags, answer in zip(samples, bundle(samples), strict=True):
        assert answer["tags"] == list(tags)
        found = [(entity["entity"], *entity["words"]) for entity in answer["entities"]]
        assert found == chunks(tags), tags


@pytest.mark.parametrize("sample", [7, (), ("a", 1), (("a",),)])
def test_what_is_neither_text_nor_words_is_refused(sample):
    bundle = make_model(*tagging_model(), TokenClassification(BIO))
    with pytest.raises(UsageError, match="a text or a tuple of words"):
        bundle([sample])
    with pytest.raises(UsageError, match="need the batch"):
        bundle.read(np.zeros((1, 3, len(BIO)), dtype=np.float32))


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_words_become_the_tokens_of_transformers_own_tokenizer(family):
    model, tokenizer = tagging_model(family)
    bundle = make_model(model, tokenizer, TokenClassification(BIO), max_length=20)
    samples = [tuple(text.split()) for text in (*TEXTS, "U.S. caf\N{LATIN SMALL LETTER E WITH ACUTE} zebra!")]
    wanted = tokenizer(
        [list(sample) for sample in samples],
        is_split_into_words=True,
        truncation=True,
        max_length=20,
        padding=True,
        return_tensors="np",
    )
    for name, values in bundle.tokenize(samples).items():
        assert values.tolist() == wanted[name].tolist()
