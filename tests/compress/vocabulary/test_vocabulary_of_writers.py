"""Models that write with fewer tokens: any text can still be written, and what needs no dropped token is read, judged
and written as before, from the tokenizer to the bundle."""

import functools
import json

import numpy as np
import pytest
import torch
import yaml
from generators import DECODERS, SENTENCES, make_generator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_generator_tokenizers import generator_tokenizer
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.anatomy import TaskModel, cut_tokens, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.compress.evaluate import evaluate
from edgelm.compress.pipeline import compress
from edgelm.compress.vocabulary.choose import choose_tokens, tokens_to_keep
from edgelm.compress.vocabulary.merges import merge_parts
from edgelm.compress.vocabulary.respelling import respelling
from edgelm.compress.vocabulary.tokenizer_json import keep_tokens, read_vocabulary
from edgelm.compress.vocabulary.writing import renumbered, written_texts
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.files.shipped import shipped_folder
from edgelm.metrics.pieces import pieces_of
from edgelm.recipe import DistillSettings, EmbeddingsSettings, Recipe, VocabularySettings
from edgelm.tasks.generation import GenerationSettings, Summarization, TextGeneration, Translation
from edgelm.training_settings import TrainSettings

FEW = SENTENCES[:3]
CUT = Recipe(name="cut", stages=(VocabularySettings(frequent=0), EmbeddingsSettings()))


@functools.cache
def trained(kind):
    """A tokenizer of a writer, trained here: byte-level BPE, BPE that falls back to bytes, or Unigram with bytes."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    texts = load_dataset(shipped_folder("calibration_data") / "english.jsonl", need_labels=False).texts[:200]
    options = {"vocab_size": 700, "special_tokens": ["<unk>", "<s>", "</s>"], "show_progress": False}
    spaces = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    if kind == "byte-level":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator(texts, trainers.BpeTrainer(initial_alphabet=alphabet, **options))
    elif kind == "byte-fallback":
        made = Tokenizer(models.BPE(unk_token="<unk>"))
        made.normalizer, made.decoder = normalizers.Replace(" ", "\u2581"), spaces
        made.train_from_iterator([*texts, "äöü 漢字 ñ ñ"], trainers.BpeTrainer(**options))
        model = json.loads(made.to_str())["model"]
        vocab = model["vocab"] | {name: len(model["vocab"]) + number for number, name in enumerate(names)}
        merges = [tuple(merge) for merge in model["merges"]]
        made.model = models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True)
    else:
        made = Tokenizer(models.Unigram())
        made.normalizer, made.decoder = normalizers.Replace(" ", "\u2581"), spaces
        made.train_from_iterator([*texts, "äöü 漢字 ñ ñ"], trainers.UnigramTrainer(unk_token="<unk>", **options))
        pieces = json.loads(made.to_str())["model"]["vocab"] + [[name, -20.0] for name in names]
        made.model = models.Unigram([tuple(piece) for piece in pieces], unk_id=0, byte_fallback=True)
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@functools.cache
def smallest(kind):
    """With no more tokens than it must have."""
    return keep_tokens(trained(kind), read_vocabulary(trained(kind)).fixed)


@pytest.mark.parametrize("kind", ["byte-level", "byte-fallback", "unigram"])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=30))
def test_any_text_can_be_written_by_the_smallest_vocabulary(kind, text):
    tokenizer = smallest(kind)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False) == text
    assert len(tokenizer) < len(trained(kind))


def test_characters_go_where_bytes_write_them():
    for kind in ("byte-fallback", "unigram"):
        before, after = trained(kind).get_vocab(), smallest(kind).get_vocab()
        assert {"漢", "ñ"} <= set(before)
        assert not {"漢", "ñ"} & set(after)
        assert {"a", "t", "7", "\u2581"} <= set(after)
    assert len(smallest("byte-level")) == 256 + 3


def test_a_vocabulary_with_both_marks_and_spare_tokens_is_read_as_gemmas_is():
    document = json.loads(trained("byte-fallback").backend_tokenizer.to_str())
    vocab = document["model"]["vocab"]
    vocab["\u0120"] = len(vocab)
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(document)), unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    made.add_tokens([AddedToken(f"<unused{number}>", special=True) for number in range(3)])
    made.add_tokens([AddedToken("<turn>", special=True)])
    known = read_vocabulary(made)
    # As many whole words as without the mark of byte-level vocabularies.
    assert known.words == read_vocabulary(trained("byte-fallback")).words != ()
    assert known.ids["<turn>"] in known.fixed
    smaller = keep_tokens(made, {*known.fixed, known.ids["<unused1>"]}).get_vocab()
    assert [name for name in smaller if name.startswith("<unused")] == ["<unused1>"]
    assert sorted(smaller.values()) == list(range(len(smaller)))


def test_only_the_merges_that_letters_go_through_are_needed():
    """`abcd` can be made of `ab` and `cd` or of `abc` and `d`, too; but the first merge that fits makes `bc`."""
    names = ["a", "b", "c", "d", "ab", "bc", "cd", "abc", "bcd", "abcd"]
    vocab = {name: number for number, name in enumerate(names)}
    merges = [("b", "c"), ("a", "b"), ("c", "d"), ("ab", "c"), ("bc", "d"), ("a", "bc"), ("ab", "cd"), ("a", "bcd")]
    parts = merge_parts({"vocab": vocab, "merges": merges})
    assert parts[vocab["abcd"]] == {vocab["a"], vocab["bcd"]}
    assert parts[vocab["bcd"]] == {vocab["bc"], vocab["d"]}
    assert parts[vocab["abc"]] == {vocab["a"], vocab["bc"]}


# Which tokens stay


def counts_of(vocabulary, **counts):
    found = np.zeros(len(vocabulary.ids), dtype=np.int64)
    for name, count in counts.items():
        found[vocabulary.ids[f"\u0120{name}"]] = count
    return found


def test_the_most_used_tokens_stay_until_they_make_up_a_share_or_are_enough():
    vocabulary = read_vocabulary(generator_tokenizer("gpt2", SENTENCES))
    counts = counts_of(vocabulary, the=90, living=6, quiet=3, buy=1)
    choose = functools.partial(choose_tokens, vocabulary, counts, min_count=1, max_tokens=None, always=(), frequent=0)
    names = {token: name for name, token in vocabulary.ids.items()}

    def words(**options):
        return {names[token] for token in choose(**options)} & {"Ġthe", "Ġliving", "Ġquiet", "Ġbuy"}

    assert words(share=0.5) == {"Ġthe"}
    assert words(share=0.96) == {"Ġthe", "Ġliving"}
    assert words(share=1.0) == {"Ġthe", "Ġliving", "Ġquiet", "Ġbuy"}
    least = len(choose(share=0.5))
    assert len(choose(share=0.5, min_tokens=least + 9)) >= least + 9
    assert "Ġliving" in words(share=0.5, min_tokens=least + 1)
    everything = choose(min_tokens=10_000)
    assert everything == sorted(vocabulary.ids.values())


def asked(folder, family, task=None, **options):
    checkpoint = open_checkpoint(make_generator(folder, family, **options))
    return TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), task or checkpoint.task, 0)


def kept_names(model, rows, **options):
    chosen = set(tokens_to_keep(model, VocabularySettings(frequent=0, **options), rows))
    return {name for name, token in model.tokenizer.get_vocab().items() if token in chosen}


def test_prompts_completions_and_conversations_count_as_they_are_tokenized(tmp_path):
    model = asked(tmp_path / "m", "llama")
    plain = Dataset("memory", ("turn on",), schema="prompts")
    assert "Ġlights" not in kept_names(model, plain)
    rows = Dataset("memory", ("turn the",), labels=(" lights on",), schema="prompts")
    assert {"Ġthe", "Ġlights"} <= kept_names(model, rows)
    talk = Dataset("memory", ((("user", "is it"), ("assistant", "no rain")),), schema="prompts")
    assert "Ġrain" in kept_names(model, talk)
    (text,) = written_texts(talk, model.tokenizer, model.task)
    assert "<|start|>assistant<|end|>\n\nno rain<|eot|>" in text


def test_what_stands_around_texts_stays(tmp_path):
    """The words of a chat template, the prefix of sources, and texts that stop what is written."""
    sentences = (*SENTENCES, "a user a assistant a system now", "so quit now")
    model = asked(tmp_path / "m", "qwen2", sentences=sentences)
    around = {"Ġnow", "Ġquit"}
    stopped = TextGeneration(GenerationSettings(stop=(" quit",), eos_ids=model.task.settings.eos_ids))
    plain = Dataset("memory", ("turn on",), schema="prompts")
    assert kept_names(TaskModel(model.model, model.tokenizer, stopped, 0), plain) & around == {"Ġquit"}
    model.tokenizer.chat_template = "{% for message in messages %}{{ message['role'] }} now {% endfor %}"
    assert kept_names(model, plain) & around == {"Ġnow"}
    reader = asked(tmp_path / "t", "t5", Summarization(GenerationSettings(decoder_start_id=0), prefix="please play: "))
    targets = Dataset("memory", ("turn on",), labels=(("some music", "good value"),), schema="targets")
    assert {"▁please", "▁play", "▁turn", "▁some", "▁music", "▁value"} <= kept_names(reader, targets)


@pytest.mark.parametrize(("name", "content"), [("more.txt", "quick delivery\n"), ("more.jsonl", None)])
def test_corpora_of_writers_are_lines_or_rows_with_what_is_written(tmp_path, name, content):
    row = {"messages": [{"role": "user", "content": "a quick"}, {"role": "assistant", "content": "a delivery"}]}
    (tmp_path / name).write_text(content or json.dumps(row) + "\n")
    model = asked(tmp_path / "m", "llama")
    rows = Dataset("memory", ("turn on",), schema="prompts")
    assert "Ġdelivery" not in kept_names(model, rows)
    assert "Ġdelivery" in kept_names(model, rows, corpora=(str(tmp_path / name),))


def test_ids_that_settings_name_follow_their_tokens():
    own = {"eos_ids": (3, 7), "pad_id": 7, "decoder_start_id": 5, "forced_bos_id": 9, "bad_ids": (5, 1)}
    task = Translation(GenerationSettings(num_beams=4, **own), prefix="x")
    found = renumbered(task, {3: 0, 5: 1, 7: 2}.get)
    wanted = {"eos_ids": (0, 2), "pad_id": 2, "decoder_start_id": 1, "forced_bos_id": None, "bad_ids": (1,)}
    assert found == Translation(GenerationSettings(num_beams=4, **wanted), prefix="x")


# What is measured


@pytest.mark.parametrize("family", ["gpt2", "mistral", "t5"])
def test_bytes_of_a_text_are_the_same_in_any_tokens(family):
    tokenizer = generator_tokenizer(family, SENTENCES)
    smaller = keep_tokens(tokenizer, read_vocabulary(tokenizer).fixed)
    for text in ("turn the kitchen lights on", "a dull, lifeless movie"):
        found = [sum(pieces_of(one).sizes[token] for token in one(text)["input_ids"]) for one in (tokenizer, smaller)]
        # SentencePiece writes a blank before the first word, too.
        assert found == [len(text.encode()) + (family != "gpt2")] * 2


def test_respelling_counts_characters_in_the_same_tokens():
    tokenizer = generator_tokenizer("gpt2", SENTENCES)
    vocabulary = read_vocabulary(tokenizer)
    kept = vocabulary.closure({*vocabulary.fixed, *tokenizer(" turn the")["input_ids"]})
    found = respelling(tokenizer, keep_tokens(tokenizer, kept), [" turn the living", " turn the"])
    assert found.same_characters == pytest.approx((9 + 9) / (16 + 9))
    assert found.more_tokens == (len(" living") - 1) / 2


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_agreement_is_counted_where_tokens_of_both_begin(tmp_path, family):
    """A vocabulary that lost one word: nothing is different before it, and the word's own place is."""
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", family))
    model = TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.task, 64)
    texts = ("turn the kitchen lights on", "turn the lights on")
    rows = Dataset("memory", texts, schema="prompts")
    if family not in DECODERS:
        rows = Dataset("memory", texts, labels=(("some music",), ("turn the kitchen",)), schema="targets")
    vocabulary = read_vocabulary(model.tokenizer)
    metrics, reference = evaluate(model, rows, written=False)
    for dropped in ("rain", "kitchen"):
        (gone,) = (token for name, token in vocabulary.ids.items() if name in (f"Ġ{dropped}", f"▁{dropped}"))
        kept = sorted(set(vocabulary.ids.values()) - {gone})
        number = {old: new for new, old in enumerate(kept)}
        smaller = TaskModel(
            cut_tokens(model.model, kept), keep_tokens(model.tokenizer, kept), renumbered(model.task, number.get), 64
        )
        found, _ = evaluate(smaller, rows, reference=reference, written=False)
        if dropped == "rain":  # which is in no text: its probability is shared out among the others
            assert found["agreement"] >= 0.8
            assert found["byte_perplexity"] == pytest.approx(metrics["byte_perplexity"], rel=0.05)
            assert found["byte_perplexity"] <= metrics["byte_perplexity"]
        else:
            assert found["agreement"] < 1
            assert found["byte_perplexity"] != pytest.approx(metrics["byte_perplexity"], rel=1e-3)


# From the recipe to the bundle


def rows_of(family, texts=FEW):
    if family in DECODERS:
        return Dataset("memory", texts, schema="prompts")
    return Dataset("memory", texts, labels=tuple((text,) for text in reversed(texts)), schema="targets")


def logits(model, tokenizer, task, text, answer):
    """Of an answer's tokens, by name."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    read = torch.tensor([tokenizer(answer, add_special_tokens=False)["input_ids"]])
    if task.own_targets:
        given = {"input_ids": torch.cat([ids, read], dim=1)}
    else:
        start = torch.tensor([[task.settings.decoder_start_id]])
        given = {"input_ids": ids, "decoder_input_ids": torch.cat([start, read], dim=1)}
    with torch.no_grad():
        return model(**given).logits[0]


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "gemma3_text", "t5", "t5-gated", "bart", "marian"])
def test_texts_of_kept_tokens_have_the_logits_that_they_had(tmp_path, family):
    make_generator(tmp_path / "m", family)
    rows = rows_of(family)
    result = compress(tmp_path / "m", dataset=rows, evaluation=rows, recipe=CUT, output=tmp_path / "out")
    before, after = (open_checkpoint(tmp_path / name) for name in ("m", "out"))
    models, readers = map(load_checkpoint, (before, after)), [load_tokenizer(one) for one in (before, after)]
    kept, original = len(readers[1]), len(readers[0])
    assert (result.record.tokens.kept, result.record.tokens.original) == (kept, original)
    assert kept < original
    assert (result.record.tokens.covered_tokens, result.record.tokens.same_characters) == (1, 1)
    assert result.record.tokens.more_tokens == 0
    assert after.config["vocab_size"] == kept
    old = readers[0].get_vocab()
    column = torch.tensor([old[name] for name in sorted(readers[1].get_vocab(), key=readers[1].get_vocab().get)])
    wanted, found = (
        logits(model, reader, checkpoint.task, FEW[1], FEW[0])
        for model, reader, checkpoint in zip(models, readers, (before, after), strict=True)
    )
    # Saved, loaded again, and multiplied in blocks of another size: the last digits of FP32 alone may differ.
    torch.testing.assert_close(found, wanted[:, column], rtol=1e-6, atol=1e-6)
    names = [readers[0].convert_ids_to_tokens(list(before.task.settings.eos_ids))]
    assert [readers[1].convert_ids_to_tokens(list(after.task.settings.eos_ids))] == names
    assert readers[0].pad_token == readers[1].pad_token
    saved = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert saved["eos_token_id"] in (after.task.settings.eos_ids[0], list(after.task.settings.eos_ids))


@pytest.mark.parametrize("family", ["llama", "marian"])
def test_bundles_write_as_the_folder_does_with_smaller_tables(tmp_path, family):
    run = CliRunner().invoke
    make_generator(tmp_path / "m", family, hidden=64)
    rows = rows_of(family)
    compress(tmp_path / "m", dataset=rows, evaluation=rows, recipe=CUT, output=tmp_path / "out")
    sizes = []
    for name in ("m", "out"):
        made = run(
            app, ["export", str(tmp_path / name), "--precision", "fp32", "--output", str(tmp_path / f"{name}.e")]
        )
        assert made.exit_code == 0, made.output
        sizes.append((tmp_path / f"{name}.e" / "weights.bin").stat().st_size)
    before, after = (len(load_tokenizer(tmp_path / name)) for name in ("m", "out"))
    tables = 2 if family == "llama" else 1  # untied: one to read, one to write
    assert sizes[0] - sizes[1] == pytest.approx((before - after) * 64 * 4 * tables, rel=0.02)
    assert run(app, ["verify", str(tmp_path / "out.e")]).exit_code == 0
    answer = edgelm.runtime.load(tmp_path / "out.e")(FEW[0], max_new_tokens=6)["text"]
    model, tokenizer = load_checkpoint(tmp_path / "out"), load_tokenizer(tmp_path / "out")
    given = tokenizer(FEW[0], return_tensors="pt")
    ids = model.generate(**given, max_new_tokens=6)[0].tolist()
    ids = ids[given["input_ids"].shape[1] :] if family in DECODERS else ids[1:]
    assert answer == tokenizer.decode(ids, skip_special_tokens=True)


def test_the_command_cuts_a_writer_and_says_what_is_left(tmp_path):
    make_generator(tmp_path / "m", "qwen3")
    (tmp_path / "cut.yaml").write_text(
        yaml.safe_dump({"name": "cut", "stages": [{"stage": "vocabulary", "frequent": 0}]})
    )
    for name, texts in (("train", FEW), ("dev", SENTENCES[2:5])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    paths = ["--data", str(tmp_path / "train.jsonl"), "--eval", str(tmp_path / "dev.jsonl")]
    more = ["--recipe", str(tmp_path / "cut.yaml"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["compress", str(tmp_path / "m"), *paths, *more])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    for words in ("of 448 kept", "of their characters in the same tokens", "tokens more a text", "byte_perplexity"):
        assert words in said
    refused = CliRunner().invoke(
        app, ["compress", str(tmp_path / "m"), *paths, *more, "--max-size", "1MB", "--overwrite"]
    )
    assert refused.exit_code == 2
    assert "cannot keep to a budget" in refused.stderr


def test_a_student_of_fewer_layers_learns_after_the_cut(tmp_path):
    make_generator(tmp_path / "m", "gpt2", layers=2)
    taught = DistillSettings(layers=1, train=TrainSettings(max_steps=1))
    rows, recipe = rows_of("gpt2"), Recipe(name="r", stages=(VocabularySettings(), taught))
    compress(tmp_path / "m", dataset=rows, evaluation=rows, recipe=recipe, output=tmp_path / "out")
    assert load_checkpoint(tmp_path / "out").config.num_hidden_layers == 1
