"""The card of a bundle, as a reader and as Hugging Face's library read it."""

import json
import re
import shutil

import pytest
from bundles import make_bundle
from huggingface_hub import ModelCard as HubCard
from report_material import EVIL, MACHINE, a_profile, write_profiles
from typer.testing import CliRunner

from edgelm.bundles.card import card_text, write_latency
from edgelm.bundles.edit import add_files
from edgelm.bundles.keys import make_keys
from edgelm.bundles.sbom import sbom_json
from edgelm.bundles.sign import sign
from edgelm.cli.main import app
from edgelm.model_folder.card import ModelCard, read_card
from edgelm.runtime import open_bundle
from edgelm.runtime.manifest import FileEntry
from edgelm.runtime.verify import verify
from edgelm.tasks.text import TextClassification

ORIGIN = ModelCard("apache-2.0", "", ("someone/base",), ("someone/base",), ("en",))
LINEAGE = {
    "source": "org/teacher",
    "stages": [
        {"stage": "prune", "settings": {"keep_heads": 0.5}, "seed": 0, "before": {"accuracy": 0.9, "f1": float("nan")},
         "after": {"accuracy": 0.8}, "parameters": 9, "seconds": 1.0},
    ],
    "data": {"eval": {"source": "data/dev.csv", "rows": 50, "sha256": "0"}},
    "tokens": {"kept": 500, "original": 2000, "saved_mb": 1.0, "covered_texts": 0.9, "covered_tokens": 0.99},
}  # fmt: skip
QUALITY = {"samples": 100, "source": "data/test.csv", "checkpoint": {"accuracy": 0.81}, "bundle": {"accuracy": 0.79}}


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def with_card(folder, **changes):
    """A small bundle with card and bill, as an export writes them."""
    path = make_bundle(folder, name="b", device="cpu", tools={"edgelm": "0.1.0"}, **changes)
    bundle = open_bundle(path)
    text = card_text(bundle.manifest, ORIGIN, size_mb=1.0).encode()
    entries = sorted((*bundle.manifest.files, FileEntry.of("README.md", text)), key=lambda entry: entry.path)
    bill = sbom_json(bundle.manifest, entries, ORIGIN).encode()
    add_files(bundle, {"README.md": text, "sbom.cdx.json": bill}, bundle.manifest)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards")
    with_card(folder / "b.edge", lineage=LINEAGE, quality=QUALITY)
    return folder


@pytest.fixture
def bundle(made, tmp_path):
    return shutil.copytree(made / "b.edge", tmp_path / "b.edge")


def test_the_card_of_a_bundle_is_read_by_the_library_of_the_hub(made):
    card = HubCard.load(made / "b.edge" / "README.md")
    assert (card.data.license, card.data.base_model, card.data.language) == ("apache-2.0", ["someone/base"], ["en"])
    assert (card.data.pipeline_tag, card.data.library_name) == ("text-classification", "edgelm")
    (told,) = card.data.eval_results
    assert (told.metric_type, told.metric_value) == ("accuracy", 0.79)
    assert (told.dataset_split, told.dataset_name) == ("test", "data/test.csv")
    for words in (
        "python run.py",
        "Labels: negative, positive",
        "On test: data/test.csv, 100 rows:",
        "| accuracy | 0.9000 | 0.8000 |",
        "cut to 500 of 2,000 tokens",
        "edgelm compress org/teacher --data TRAIN --eval data/dev.csv --recipe recipe.yaml",
        "Versions: edgelm 0.1.0.",
    ):
        assert words in card.text
    assert str(made) not in card.content
    assert "/home/" not in card.content


def test_measured_latency_is_written_with_machine_and_instruction_sets(bundle, tmp_path):
    manifest = open_bundle(bundle).manifest
    machine = MACHINE | {"instructions": ["avx2", "avx512_vnni"]}
    profiles = write_profiles(
        tmp_path / "profile.json",
        a_profile("b", "bundle", 1.0, manifest.to_dict(), size_mb=2.0, machine=machine),
        a_profile("teacher", "pytorch", 5.0, {}, size_mb=8.0, seed=1, machine=machine),
    )
    done = run("card", bundle, "--profile", profiles, "--json")
    assert done.exit_code == 0, done.output
    card = (bundle / "README.md").read_text()
    assert json.loads(done.stdout)["card"] == card
    assert "on A CPU (2 cores, instruction sets: avx2, avx512_vnni), 1 thread," in card
    assert "Not measured yet" not in card
    assert "/home/somebody" not in card
    assert HubCard.load(bundle / "README.md").data.license == "apache-2.0"


def test_the_bundle_stays_whole_when_its_card_changes(bundle, tmp_path):
    manifest = open_bundle(bundle).manifest
    profiles = write_profiles(tmp_path / "profile.json", a_profile("b", "bundle", 1.0, manifest.to_dict(), size_mb=2.0))
    for _ in range(2):  # the same profile is of the bundle with its new card, too
        assert run("card", bundle, "--profile", profiles).exit_code == 0
        after = open_bundle(bundle)
        assert verify(bundle).ok
        others = [entry for entry in after.manifest.files if entry.path != "sbom.cdx.json"]
        bill = sbom_json(after.manifest, others, read_card(bundle))
        assert json.loads(after.read("sbom.cdx.json")) == json.loads(bill)


def test_the_card_is_printed(made):
    done = run("card", made / "b.edge")
    assert (done.exit_code, done.stdout) == (0, (made / "b.edge" / "README.md").read_text().rstrip() + "\n")


def test_profiles_of_other_bundles_are_refused(bundle, tmp_path):
    profiles = write_profiles(tmp_path / "profile.json", a_profile("other", "pytorch", 1.0, {}, size_mb=2.0))
    before = (bundle / "README.md").read_bytes()
    done = run("card", bundle, "--profile", profiles)
    assert (done.exit_code, "no profile in" in done.output) == (4, True)
    assert (bundle / "README.md").read_bytes() == before


def test_the_card_of_a_signed_bundle_stays_as_it_was_signed(tmp_path):
    folder = with_card(tmp_path / "b.edge")
    sign(folder, key=make_keys(tmp_path / "maker").private)
    manifest = open_bundle(folder).manifest.to_dict()
    profiles = write_profiles(tmp_path / "profile.json", a_profile("b", "bundle", 1.0, manifest, size_mb=2.0))
    done = run("card", folder, "--profile", profiles)
    assert (done.exit_code, "README.md is part of the signed bundle" in done.output) == (4, True)


def test_what_strangers_call_things_is_no_html_and_no_second_front_matter(tmp_path):
    task = TextClassification(labels=("<script>x</script>", "a\n---\nlicense: mit"))
    text = card_text(open_bundle(make_bundle(tmp_path / "b", task, name=EVIL)).manifest, ORIGIN, size_mb=1.0)
    card = HubCard(text)
    assert card.data.license == "apache-2.0"
    assert "<script>" not in re.sub(r"```.*?```", "", card.text, flags=re.DOTALL)  # in code it is no tag
    assert "\x1b" not in card.text


def test_a_card_of_an_older_edgelm_gets_the_licence_of_the_bill(bundle):
    opened = open_bundle(bundle)
    add_files(opened, {"README.md": b"# b\n"}, opened.manifest)
    write_latency(bundle, ["Fast."])
    card = HubCard.load(bundle / "README.md")
    assert card.data.license == "apache-2.0"
    assert "Fast." in card.text
