"""What a file of a stranger may ask for is bounded, and who needs more says so by an environment variable."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import make_bundle, reseal
from onnx import helper, numpy_helper

import edgelm.runtime
from edgelm.errors import BundleError, DataError, EdgelmError, ModelError, UsageError
from edgelm.files.safe_yaml import parse_yaml
from edgelm.limits import LIMITS, RATIO, check_ratio, door, read_json


def asks_for(folder, elements):
    """The bundle with a tensor of so many elements, by a constant of its graph."""
    model = onnx.load(folder / "model.onnx")
    model.graph.initializer.append(numpy_helper.from_array(np.array([elements]), "shape"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["large"]))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return reseal(folder)


def test_a_limit_is_named_with_the_variable_that_raises_it(tmp_path, monkeypatch):
    folder = asks_for(make_bundle(tmp_path / "b"), 1 << 28)
    with pytest.raises(BundleError, match=r"268,435,456 elements(.|\n)*EDGELM_MAX_ELEMENTS=268435456 lets it through"):
        edgelm.runtime.load(folder)
    monkeypatch.setenv("EDGELM_MAX_ELEMENTS", str(1 << 28))
    assert edgelm.runtime.load(folder).session is not None


@pytest.mark.parametrize("value", ["", "0", "-1", "x", "1.5", "²", "9" * 30])
def test_a_variable_that_is_no_number_is_a_usage_error(monkeypatch, value):
    monkeypatch.setenv("EDGELM_MAX_RATIO", value)
    with pytest.raises(UsageError, match="EDGELM_MAX_RATIO"):
        RATIO.check(1, "x")


def test_every_limit_is_in_the_documentation():
    page = Path(__file__).parents[1] / "docs" / "how-to" / "strangers.md"
    text = page.read_text(encoding="utf-8")
    assert [limit.variable for limit in LIMITS if f"`{limit.variable}`" not in text] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[" + b"[]," * 1_000_001 + b"1]", "lists and objects"),
        (b"[" + b"1," * 10_000_001 + b"1]", "values"),
        (b"[" * 100_000, "nested too deeply"),
        (b'"\\ud800"', "surrogates"),
        (b'{"vocabul\xed\xa0\x80ary": 1}', "codec can't decode"),
        (b"1" * 5000, "digits"),
    ],
)
def test_json_that_fills_the_memory_or_cannot_be_told_is_refused(text, words):
    with pytest.raises((ModelError, ValueError), match=words):
        read_json(text, "file", error=ModelError)
    assert read_json(b'{"a": "\\ud83d\\ude00"}', "file") == {"a": "\U0001f600"}


BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30))])


@pytest.mark.parametrize(
    "text", [BOMB, "[" * 1000, "{a: " * 200, "x" * 2_000_000, "2001-99-99", "1" * 5000, "{[a]: b}"]
)
def test_yaml_that_grows_or_is_no_value_is_refused(text):
    import yaml

    with pytest.raises((ValueError, yaml.YAMLError)):
        parse_yaml(text)
    assert parse_yaml("a: &b [1]\nc: *b")[1] == {"a": [1], "c": [1]}


def test_what_grows_to_many_times_its_size_is_refused():
    check_ratio(60 << 20, 1, "a short file")
    with pytest.raises(BundleError, match="bytes for each compressed one"):
        check_ratio(1200 << 20, 5 << 20, "a long file")


def test_a_door_says_what_nobody_foresaw_of_the_file():
    @door(DataError, "Look at it.")
    def read(path):
        return {"a": [1]}["a"][path]

    with pytest.raises(DataError, match=r"^5: cannot be used: list index out of range.\nLook at it\.$"):
        read(5)
    assert read(0) == 1
    assert issubclass(DataError, EdgelmError)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "x" * 1000}}, "1,000 times as many"),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 10,
                }
            },
            "1,024 times as many",
        ),
        (
            {
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 100,
                    "pair": [],
                    "special_tokens": {},
                }
            },
            "100 pieces around a text",
        ),
    ],
)
def test_a_tokenizer_that_makes_texts_many_times_longer_is_refused(tmp_path, change, words):
    folder = make_bundle(tmp_path / "b")
    values = json.loads((folder / "tokenizer.json").read_text()) | change
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=words):
        edgelm.runtime.load(reseal(folder))
