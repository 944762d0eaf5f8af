"""The bill of materials keeps to the schema of CycloneDX, as its library's own validator reads it."""

import json

import pytest
from bundles import make_bundle

from edgelm.bundles.sbom import sbom_json
from edgelm.model_folder.card import ModelCard, read_card
from edgelm.runtime import open_bundle
from edgelm.runtime.manifest import FileEntry


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return open_bundle(make_bundle(tmp_path_factory.mktemp("bundle") / "b", tools={"edgelm": "0.1.0"})).manifest


CARDS = {
    "none": ModelCard(),
    "SPDX": ModelCard("apache-2.0", "", ("google/bert", "other/one")),
    "a name of its own": ModelCard("llama3", "https://example.org/license", ()),
    "a link that is none": ModelCard("mit", "LICENSE.md", ()),
    "odd words": ModelCard("<b>\N{GRINNING FACE}", "http://[", ("a\\b \N{CJK UNIFIED IDEOGRAPH-4E00}",)),
}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_it_is_valid_and_the_same_for_the_same_bundle(manifest, card):
    pytest.importorskip("jsonschema", reason="the validator of cyclonedx-python-lib needs its extra json-validation")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = sbom_json(manifest, manifest.files, card)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert sbom_json(manifest, manifest.files, card) == text
    other = (*manifest.files, FileEntry.of("more", b"1"))
    assert json.loads(sbom_json(manifest, other, card))["serialNumber"] != json.loads(text)["serialNumber"]


@pytest.mark.parametrize(
    ("text", "licence", "bases"),
    [
        ("---\nlicense: mit\nbase_model: a/b\n---\ntext", "mit", ("a/b",)),
        ("---\nlicense: other\nlicense_name: own\nbase_model: [a, b, 5]\n---\n", "own", ("a", "b")),
        ("# no front matter\nlicense: mit", "", ()),
        ("---\nlicense: [1\n---\n", "", ()),
        ("---\nlicense: 2001-99-99\n---\n", "", ()),
        ("---\nlicense: {a: b}\nbase_model: {a: b}\n---\n", "", ()),
        ("---\n" + "[" * 100_000 + "\n---\n", "", ()),
        ('---\nlicense: "a\\ee"\n---\n', "", ()),
        ("---\n- a\n---\n", "", ()),
        ("", "", ()),
    ],
)
def test_a_card_is_read_as_far_as_it_can_be(tmp_path, text, licence, bases):
    (tmp_path / "README.md").write_text(text)
    card = read_card(tmp_path)
    assert (card.licence, card.base_models) == (licence, bases)


def test_licence_texts_are_those_beside_the_model(tmp_path):
    for name in ("LICENSE", "LICENSE.md", "Notice.txt", "LICENSE.py", "model.txt", "licensed"):
        (tmp_path / name).write_text(name)
    (tmp_path / "COPYING").mkdir()
    (tmp_path / "LICENSE.txt").write_bytes(b"x" * (2 << 20))
    assert read_card(tmp_path).texts == {name: name.encode() for name in ("LICENSE", "LICENSE.md", "Notice.txt")}
    assert read_card(tmp_path / "missing") == ModelCard()
