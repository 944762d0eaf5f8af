"""A loaded bundle writes, streams, talks and judges texts."""

import math

import numpy as np
import pytest
import torch
from generator_bundles import POSITIONS, load_generator, make_generator_bundle, make_model
from generators import SENTENCES

from edgelm.errors import BundleError, DataError, DataWarning, UsageError
from edgelm.runtime import load
from edgelm.runtime.model import load as load_model

TEXT = SENTENCES[1]


@pytest.fixture
def llama():
    return load_generator("llama")


@pytest.fixture
def marian():
    return load_generator("marian")


def read_tokens(generator, monkeypatch):
    """How many tokens each step reads, from now on."""
    counts, step = [], generator.reading.decoder.step

    def counting(ids, **options):
        counts.append(ids.shape[1])
        return step(ids, **options)

    monkeypatch.setattr(generator.reading.decoder, "step", counting)
    return counts


@pytest.mark.parametrize("family", ["llama", "marian"])
def test_an_answer_says_text_and_why_it_ended(family):
    answer = load_generator(family)(TEXT, max_new_tokens=7)
    assert answer["finish"] == "length"
    assert (answer["tokens"], answer["prompt_tokens"]) == (7, len(load_generator(family).tokenizer.encode(TEXT)))


def test_texts_are_answered_beside_each_other_as_alone(llama):
    texts = [*SENTENCES, *reversed(SENTENCES), TEXT[:9]]  # more than are written at once
    together = llama(texts, max_new_tokens=6)
    assert together == [llama(text, max_new_tokens=6) for text in texts]


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral", "t5"])
def test_a_stream_is_the_answer_in_pieces(family):
    generator = load_generator(family)
    pieces = list(generator.stream(TEXT, max_new_tokens=20))
    assert len(pieces) > 1
    assert "".join(pieces) == generator(TEXT, max_new_tokens=20)["text"]


def test_an_end_token_ends_a_text_and_is_not_said(llama):
    whole = llama(TEXT, max_new_tokens=10)
    (row,) = llama.write([llama.reader(TEXT)], llama.settings_with({"max_new_tokens": 10}))
    answer = llama(TEXT, max_new_tokens=10, eos_ids=row.written[5])
    first = row.written.index(row.written[5])
    assert (answer["finish"], answer["tokens"]) == ("stop", first + 1)
    assert whole["text"].startswith(answer["text"])


@pytest.mark.parametrize("draft", [None, "lookup"])
def test_a_stop_string_ends_a_text_and_is_cut_off(llama, draft):
    text = llama(TEXT, max_new_tokens=20)["text"]
    stop = text[5:8]
    answer = llama(TEXT, max_new_tokens=20, stop=stop, draft=draft)
    assert (answer["text"], answer["finish"]) == (text[: text.find(stop)], "stop")
    assert answer["tokens"] < 20
    assert "".join(llama.stream(TEXT, max_new_tokens=20, stop=[stop], draft=draft)) == answer["text"]
    several = llama([TEXT, SENTENCES[0]], max_new_tokens=20, stop=[stop])
    assert several[0]["text"] == answer["text"]
    beams = llama(TEXT, max_new_tokens=20, num_beams=2)["text"]
    assert llama(TEXT, max_new_tokens=20, num_beams=2, stop=beams[3:5])["text"] == beams[: beams.find(beams[3:5])]


def test_a_prompt_that_begins_as_the_last_one_is_read_from_where_it_differs(llama, monkeypatch):
    first = llama.reader(TEXT)
    llama(TEXT, max_new_tokens=5)
    counts = read_tokens(llama, monkeypatch)
    longer = f"{TEXT} and more of it"
    answer = llama(longer, max_new_tokens=1)
    assert counts == [len(llama.reader(longer)) - len(first)]
    llama(longer, max_new_tokens=1)
    assert counts[1:] == [2]  # kernels sum in another order for one token alone
    llama.reading.begin(1)
    assert llama(longer, max_new_tokens=1) == answer


def test_a_conversation_does_not_read_its_past_again(llama, monkeypatch):
    talk = [{"role": "user", "content": TEXT}]
    answer = llama.chat(talk, max_new_tokens=8)
    counts = read_tokens(llama, monkeypatch)
    talk += [{"role": "assistant", "content": answer["text"]}, {"role": "user", "content": "go on"}]
    more = llama(talk, max_new_tokens=4)
    assert counts[0] < more["prompt_tokens"] - len(llama.reader(talk[:1])) + 4
    llama.reading.begin(1)
    assert llama(talk, max_new_tokens=4) == more


def test_conversations_are_prompts_by_the_template(llama):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(make_model("llama")[1])
    talk = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}]
    wanted = tokenizer.apply_chat_template(talk, add_generation_prompt=True)["input_ids"]
    assert llama.reader(talk) == list(wanted)
    assert len(llama([talk, talk[1:]], max_new_tokens=2)) == 2


@pytest.mark.parametrize("draft", [None, "lookup"])
def test_a_stream_that_is_let_go_leaves_the_generator_as_it_was(llama, draft):
    wanted = llama(TEXT, max_new_tokens=12)
    for count in range(1, 6):
        stream = llama.stream(TEXT, max_new_tokens=12, draft=draft)
        for _ in range(count):
            next(stream)
        stream.close()
        assert llama(TEXT, max_new_tokens=12) == wanted


def test_a_stream_that_another_call_has_ended_says_so(llama):
    stream = llama.stream(TEXT, max_new_tokens=12)
    next(stream)
    llama(SENTENCES[0], max_new_tokens=2)
    with pytest.raises(UsageError, match="another call"):
        next(stream)


def test_memory_is_grown_as_it_is_needed(monkeypatch):
    monkeypatch.setattr("edgelm.runtime.generation.cache._FIRST_CAPACITY", 256)
    generator = load_generator("t5")  # without a limit
    generator.reading.decoder.cache.__init__(generator.reading.decoder.cache.pairs)
    (row,) = generator.write([generator.reader(TEXT)], generator.settings_with({"max_new_tokens": 600}))
    assert generator.reading.decoder.cache.capacity == 1024
    begin = generator.settings_with({"max_new_tokens": 100})
    generator.reading.decoder.cache.__init__(generator.reading.decoder.cache.pairs)
    (short,) = generator.write([generator.reader(TEXT)], begin)
    assert row.written[:100] == short.written


@pytest.mark.parametrize("family", ["llama", "marian"])
def test_scores_are_pytorchs(family):
    generator, (model, _) = load_generator(family), make_model(family)
    ids = generator.reader(TEXT)
    with torch.no_grad():
        if family == "llama":
            logits = model(torch.tensor([ids])).logits[0, :-1]
            score, targets = generator.score(TEXT), ids[1:]
        else:
            targets = generator.tokenizer.encode(SENTENCES[2]).ids
            begun = [generator.settings.decoder_start_id, *targets[:-1]]
            logits = model(torch.tensor([ids]), decoder_input_ids=torch.tensor([begun])).logits[0]
            score = generator.score(TEXT, SENTENCES[2])
    wanted = torch.log_softmax(logits.double(), -1)[range(len(targets)), targets].numpy()
    # Logits are below 30, and float32 sums of other orders differ in the sixth digit.
    np.testing.assert_allclose(score["token_log_likelihoods"], wanted, atol=2e-4)
    assert score["tokens"] == len(targets)
    assert score["perplexity"] == pytest.approx(math.exp(-score["log_likelihood"] / len(targets)))


def test_a_long_text_is_scored_in_pieces(llama, monkeypatch):
    ids = (llama.reader(TEXT) * 20)[:POSITIONS]
    wanted = llama.reading.score(ids)
    monkeypatch.setattr("edgelm.runtime.generation.decoder.Decoder.piece", 7)
    np.testing.assert_allclose(llama.reading.score(ids), wanted, atol=2e-4)  # as above


def test_a_long_prompt_is_read_in_pieces(llama, monkeypatch):
    text = " ".join(SENTENCES[:4])
    wanted = llama(text, max_new_tokens=6)
    llama.reading.begin(1)
    monkeypatch.setattr("edgelm.runtime.generation.decoder.Decoder.piece", 7)
    counts = read_tokens(llama, monkeypatch)
    assert llama(text, max_new_tokens=6) == wanted
    assert set(counts[:-5]) <= {*range(2, 9)}


def test_a_text_ends_where_the_model_reads_no_further(llama):
    ids = (llama.reader(TEXT) * 20)[: POSITIONS - 3]
    (row,) = llama.write([ids], llama.settings_with({"max_new_tokens": 50}))
    assert (row.new, row.finish) == (4, "length")  # the last one is written and never read
    (row,) = llama.write([ids], llama.settings_with({"max_new_tokens": 50, "num_beams": 2}))
    assert row.new == 4


@pytest.mark.parametrize("family", ["llama", "marian"])
def test_a_prompt_that_is_too_long_is_refused_or_cut_with_a_warning(family):
    generator = load_generator(family)
    text = " ".join(SENTENCES * 6)
    with pytest.raises(DataError, match=f"the model reads {POSITIONS}"):
        generator(text, max_new_tokens=4)
    with pytest.warns(DataWarning, match="are read"):
        answer = generator(text, max_new_tokens=28, truncate=True)
    assert (answer["prompt_tokens"], answer["tokens"]) == (POSITIONS - 28, 28)


def test_a_cut_prompt_keeps_its_end_and_the_tokens_around_it(llama):
    text, whole = " ".join(SENTENCES * 6), llama.tokenizer.encode(" ".join(SENTENCES * 6)).ids
    with pytest.warns(DataWarning, match="the last 100"):
        ids = llama.reader(text, room=28, truncate=True)
    assert ids == [whole[0], *whole[-99:]]


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_an_empty_prompt_is_refused_where_no_token_begins_texts(family):
    with pytest.raises(DataError, match="empty prompt"):
        load_generator(family)("")


def test_an_empty_prompt_goes_where_a_token_begins_texts(llama):
    assert llama("", max_new_tokens=3)["tokens"] == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_tokens": 3}, "no setting max_tokens"),
        ({"temperature": 0.0}, "temperature"),
        ({"num_beams": 2, "do_sample": True}, "exclude each other"),
        ({"draft": "guess"}, "no draft"),
        ({"draft": "lookup", "num_beams": 2}, "likeliest"),
        ({"draft": "lookup", "do_sample": True}, "likeliest"),
    ],
)
def test_wrong_calls_are_refused(llama, options, words):
    with pytest.raises(UsageError, match=words):
        llama(TEXT, **options)


def test_beams_are_not_streamed(llama):
    with pytest.raises(UsageError, match="beam search"):
        llama.stream(TEXT, num_beams=2)


@pytest.mark.parametrize("prompt", [7, [7], [["a", "b"]], None, {"role": "user", "content": "a"}])
def test_what_is_no_prompt_is_refused(llama, prompt):
    with pytest.raises(UsageError):
        llama(prompt)


@pytest.mark.parametrize("ids", [[], [9] * (POSITIONS + 1)])
def test_tokens_that_the_model_does_not_read_are_refused(llama, ids):
    with pytest.raises(DataError, match="from 1 to"):
        llama.write([ids])


def test_half_a_character_is_refused(llama):
    with pytest.raises(DataError, match="Unicode"):
        llama("a\ud800")


def test_a_conversation_needs_a_template(marian):
    with pytest.raises(UsageError, match="no chat template"):
        marian([{"role": "user", "content": "a"}])


def test_an_unknown_role_is_refused(llama):
    with pytest.raises(DataError, match="wizard"):
        llama.chat([{"role": "wizard", "content": "a"}])


def test_a_prefix_stands_before_every_source(tmp_path):
    import dataclasses

    generator = load_generator("t5")
    task = dataclasses.replace(generator.task, prefix="turn the ")
    with_prefix = dataclasses.replace  # of the task alone: the graphs are the same
    generator.reader.task = task
    try:
        assert generator.reader("lights") == generator.tokenizer.encode("turn the lights").ids
    finally:
        generator.reader.task = with_prefix(task, prefix="")


def test_an_encoder_decoder_judges_a_target_and_a_decoder_none(llama, marian):
    for generator, arguments in ((llama, (TEXT, TEXT)), (marian, (TEXT,))):
        with pytest.raises(UsageError, match="judges"):
            generator.score(*arguments)


def test_nothing_to_judge_is_refused(llama):
    with pytest.raises(DataError, match="none to judge"):
        llama.score("")


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_bundle_in_one_file_writes_the_same(tmp_path, family):
    from edgelm.runtime.archive import pack

    folder = make_generator_bundle(tmp_path / "bundle", family, settings={"eos_ids": ()})
    pack(folder, tmp_path / "bundle.edgelm")
    generator = load(tmp_path / "bundle.edgelm", threads=1)
    assert generator(TEXT, max_new_tokens=5) == load_generator(family)(TEXT, max_new_tokens=5)


def test_a_bundle_that_writes_runs_on_the_cpu(tmp_path):
    folder = make_generator_bundle(tmp_path / "bundle", "llama")
    assert load(folder, provider="cpu").opened.provider == "cpu"
    with pytest.raises(UsageError, match="written for the CPU"):
        load(folder, provider="cuda")
    with pytest.raises(UsageError, match="writes text"):
        load_model(folder)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    from bundles import reseal

    folder = make_generator_bundle(tmp_path / "bundle", "llama")
    import json

    values = json.loads((folder / "tokenizer.json").read_text())
    count = len(values["model"]["vocab"])
    values["model"]["vocab"] |= {f"more{number}": count + number for number in range(50)}
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match="the tokenizer has"):
        load(reseal(folder))


def test_a_bundle_without_its_encoder_is_refused(tmp_path):
    from bundles import reseal

    folder = make_generator_bundle(tmp_path / "bundle", "t5")
    reseal(folder, lambda values: values["graphs"].pop(0))
    with pytest.raises(BundleError, match="needs an encoder"):
        load(folder)
