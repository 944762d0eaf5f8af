"""Every setting of a tokenizer's files reaches the runtime's token ids, or is refused by name."""

import functools
import json
import shutil

import pytest
from bundles import model_graph
from models import TEXTS, make_checkpoint
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer

from edgelm.anatomy import check_token_types, load_tokenizer
from edgelm.anatomy.tokenizer_settings import TOKENIZER_SETTINGS
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import ModelError
from edgelm.export.tokenization import tokenization_of
from edgelm.runtime.inputs.text import make_encoder
from edgelm.runtime.manifest import Manifest
from edgelm.tasks.text import TextClassification

HARD = ("", "[MASK] [SEP] Ça\u0301 VA 今天 <user> [PERSON]", "a" * 300, *TEXTS, " ".join(TEXTS * 4))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model's folder of a family, made once."""
    return functools.cache(lambda family: make_checkpoint(tmp_path_factory.mktemp(family), family))


def edit(folder, file, key, value):
    path = folder / file
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(values | {key: value}))


TOKEN = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": False}
TRUNCATION = {"direction": "left", "max_length": 20, "strategy": "OnlyFirst", "stride": 4}
PADDING = {
    "strategy": {"Fixed": 40},
    "direction": "Left",
    "pad_to_multiple_of": 8,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
}
CLASSES = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
VALUES = {
    "tokenizer_class": "BertTokenizer",
    "do_lower_case": False,
    "strip_accents": False,
    "tokenize_chinese_chars": False,
    "add_prefix_space": True,
    "added_tokens_decoder": {"3": TOKEN | {"content": "[SEP]", "special": True}, "7": TOKEN | {"content": "a"}},
    "extra_special_tokens": ["film"],
    "additional_special_tokens": ["film"],
    "truncation_side": "left",
    "split_special_tokens": True,
    "model_max_length": 20,
    "pad_token_type_id": 1,
    "padding_side": "left",
    "model_input_names": ["input_ids", "attention_mask"],
    "*": {"film": 50},
    "truncation.direction": TRUNCATION | {"direction": "Left"},
    "truncation.max_length": TRUNCATION | {"direction": "Right"},
    "truncation.stride": TRUNCATION | {"direction": "Right"},
    "truncation.strategy": TRUNCATION | {"direction": "Right"},
    "padding": PADDING,
    "added_tokens": [
        TOKEN | {"id": 3, "content": "[SEP]", "special": True},
        TOKEN | {"id": 7, "content": "a", "lstrip": True},
    ],
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": False,
        "strip_accents": False,
        "lowercase": False,
    },
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": None,
    "model": None,
}


def change(folder, setting):
    """Make the change of one row."""
    file, key = setting.file, setting.key
    if file != "tokenizer.json" and key.endswith("_token"):
        edit(folder, file, key, "film" if key != "pad_token" else "a")
    elif key == "*":
        (folder / file).write_text(json.dumps(VALUES["*"]))
    elif key.startswith("truncation."):
        edit(folder, file, "truncation", VALUES[key])
    elif key == "model":
        values = json.loads((folder / file).read_text())
        vocab = values["model"]["vocab"]
        vocab["film"], vocab["kitchen"] = vocab["kitchen"], vocab["film"]
        (folder / file).write_text(json.dumps(values))
    else:
        if key in CLASSES:  # settings of the Python class, which a folder of the general class has not
            edit(folder, file, "tokenizer_class", "BertTokenizer")
        edit(folder, file, key, VALUES[key])


def encoder_of(folder, *, pair=False):
    """The runtime's encoder, from what export would write."""
    checkpoint = open_checkpoint(folder)
    tokenizer = load_tokenizer(checkpoint)
    check_token_types(tokenizer, AutoConfig.from_pretrained(folder), pair=pair)
    length = min(128, tokenizer.model_max_length)
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    task = TextClassification(labels=("a", "b"), pair=pair)
    graph = model_graph(tokenizer.model_input_names, {"logits": ("batch", 2)})
    manifest = Manifest("m", "", task, "bert", "fp32", tokenization_of(tokenizer, length), (graph,))
    return make_encoder(manifest, backend), length


@pytest.mark.parametrize("pair", [False, True], ids=["single", "pair"])
@pytest.mark.parametrize("setting", TOKENIZER_SETTINGS, ids=lambda setting: f"{setting.file}:{setting.key}")
def test_ids_are_those_of_transformers_whatever_a_folder_sets(made, tmp_path, setting, pair):
    folder = shutil.copytree(made("bert"), tmp_path / "m")
    change(folder, setting)
    encoder, length = encoder_of(folder, pair=pair)
    theirs = AutoTokenizer.from_pretrained(folder)
    texts = list(zip(HARD, HARD[::-1], strict=True)) if pair else list(HARD)
    alone = [theirs([text], truncation=True, max_length=length) for text in texts]
    kept = [index for index, wanted in enumerate(alone) if wanted["input_ids"][0]]
    for index in kept:
        found = encoder([texts[index]])
        assert {name: values.tolist() for name, values in found.items()} == {name: alone[index][name] for name in found}
    batch = encoder([texts[index] for index in kept])
    theirs.padding_side = "right"
    wanted = theirs([texts[index] for index in kept], padding=True, truncation=True, max_length=length)
    assert {name: values.tolist() for name, values in batch.items()} == {name: wanted[name] for name in batch}


@pytest.mark.parametrize(
    ("file", "key", "value", "words"),
    [
        ("tokenizer_config.json", "model_input_names", ["input_ids", "bbox"], "bbox"),
        ("tokenizer_config.json", "pad_token", "<never seen>", "'<never seen>'"),
        ("tokenizer_config.json", "extra_special_tokens", ["<user>"], "'<user>'"),
        ("config.json", "vocab_size", 60, "60 tokens"),
    ],
)
def test_what_the_model_has_no_embeddings_for_is_refused_by_name(made, tmp_path, file, key, value, words):
    folder = shutil.copytree(made("bert"), tmp_path / "m")
    edit(folder, file, key, value)
    with pytest.raises(ModelError, match=words):
        encoder_of(folder)


@pytest.mark.parametrize("value", ["64", -1, 0, 2, True, float("nan")])
def test_a_longest_text_that_leaves_no_room_is_refused(made, tmp_path, value):
    folder = shutil.copytree(made("bert"), tmp_path / "m")
    edit(folder, "tokenizer_config.json", "model_max_length", value)
    with pytest.raises(ModelError, match=f"model_max_length.* is {value!r}"):
        load_tokenizer(open_checkpoint(folder))


@pytest.mark.parametrize(("value", "length"), [(20.0, 20), (1e30, 130), (10**30, 130), (None, 130)])
def test_a_longest_text_is_read_as_a_number_of_tokens(made, tmp_path, value, length):
    folder = shutil.copytree(made("bert"), tmp_path / "m")
    edit(folder, "tokenizer_config.json", "model_max_length", value)
    found = load_tokenizer(open_checkpoint(folder)).model_max_length
    assert (found, type(found)) == (length, int)  # the model has 130 positions


def test_pairs_need_the_second_token_type(made, tmp_path):
    """The tokenizer gives type 1 to second texts; a model of one type reads single texts alone."""
    folder = shutil.copytree(made("roberta"), tmp_path / "m")
    tokenizer = shutil.copytree(made("bert"), tmp_path / "b") / "tokenizer.json"
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    edit(folder, "tokenizer_config.json", "model_input_names", ["input_ids", "token_type_ids", "attention_mask"])
    for name, token in {
        "pad": "[PAD]",
        "unk": "[UNK]",
        "cls": "[CLS]",
        "sep": "[SEP]",
        "mask": "[MASK]",
        "bos": "[CLS]",
        "eos": "[SEP]",
    }.items():
        edit(folder, "tokenizer_config.json", f"{name}_token", token)
    encoder_of(folder)
    with pytest.raises(ModelError, match="pairs token types up to 1, the model has 1"):
        encoder_of(folder, pair=True)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_tokenizer_without_a_pad_token_pads_with_one_of_the_table(made, tmp_path, family):
    folder = shutil.copytree(made(family), tmp_path / "m")
    values = json.loads((folder / "tokenizer_config.json").read_text())
    values.pop("pad_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    encoder, _ = encoder_of(folder)
    feed = encoder(["a", "what a wonderful film"])
    pad = AutoConfig.from_pretrained(folder).pad_token_id
    assert set(feed["input_ids"][feed["attention_mask"] == 0].tolist()) == {pad}


def test_batches_are_masked_where_the_tokenizer_names_no_mask(made, tmp_path):
    folder = shutil.copytree(made("bert"), tmp_path / "m")
    edit(folder, "tokenizer_config.json", "model_input_names", ["input_ids"])
    found = encoder_of(folder)[0](["a", "a film"])
    assert sorted(found) == ["attention_mask", "input_ids"]
    assert found["attention_mask"].tolist() == (found["input_ids"] != 0).astype(int).tolist()


def test_token_types_are_not_given_to_a_model_that_takes_none(made, tmp_path):
    folder = shutil.copytree(made("distilbert"), tmp_path / "m")
    edit(folder, "tokenizer_config.json", "model_input_names", ["input_ids", "token_type_ids", "attention_mask"])
    assert sorted(encoder_of(folder)[0](["a"])) == ["attention_mask", "input_ids"]
