"""Bundles whose texts are read by edgelm-native: the same answers, the tokenizers library for what it does not take,
and which it was."""

import sys

import numpy as np
import pytest
from models import make_checkpoint

from edgelm.device import load_device
from edgelm.errors import DataError
from edgelm.export.pipeline import export
from edgelm.runtime import load
from edgelm.runtime.bundle import open_bundle
from edgelm.runtime.inputs.native_reader import READER_FILE
from edgelm.runtime.verify import verify

NEW = "turn \U0001f6dc on"  # a character of Unicode 15


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading")
    export(make_checkpoint(folder / "model"), output=folder / "bundle", device=load_device("cpu"), precision="fp32")
    return folder / "bundle"


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert values.dtype == found[name].dtype == np.int64
        assert np.array_equal(found[name], values)


def test_texts_have_the_same_inputs_alone_and_in_batches(native, bundle):
    mine, theirs = load(bundle), load(bundle, provider="cpu")
    assert mine.reads_by == "edgelm-native"
    assert theirs.reads_by == "tokenizers"
    for samples in (["turn the light on"], ["turn", NEW, "the light", "light " * 300], [NEW], [""]):
        assert_same(mine.tokenize(samples), theirs.tokenize(samples))
    assert mine("turn the light on") == theirs("turn the light on")
    with pytest.raises(DataError, match="half of a surrogate pair"):
        mine.tokenize(["\ud800"])


def test_verify_says_who_reads_and_replays_by_both(native, bundle):
    checks = {check.name: check for check in verify(bundle).checks}
    assert all(check.ok for check in checks.values())
    assert checks["tokenizer"].detail == "edgelm-native"
    assert "golden samples by the graph" in checks


def test_a_reader_that_is_refused_leaves_texts_to_the_tokenizers_library(native, bundle, monkeypatch):
    broken = open_bundle(bundle)
    read = type(broken).read
    file = (bundle / READER_FILE).read_bytes().replace(b"edgelm-tokenizer 1", b"edgelm-tokenizer 2")
    monkeypatch.setattr(type(broken), "read", lambda self, name: file if name == READER_FILE else read(self, name))
    model = load(broken)
    assert model.reads_by == f"tokenizers (not edgelm-native: {READER_FILE}: the tokenizer is of a newer edgelm)"
    assert model("turn the light on") == load(bundle, provider="cpu")("turn the light on")


def test_without_the_library_the_reason_is_told(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "edgelm_native", None)
    monkeypatch.setattr("edgelm.runtime.native.find_spec", lambda name: None)
    assert load(bundle).reads_by == "tokenizers (not edgelm-native: edgelm-native is not installed)"
