"""The licence of a model goes with what is made of it, from the folder that a user begins with to the bundle."""

import fnmatch
import json

import pytest
import yaml
from bundles import SENTIMENT
from huggingface_hub import ModelCard as HubCard
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

from edgelm.anatomy import find_checkpoint
from edgelm.cards.checkpoint import write_checkpoint_card
from edgelm.checkpoint import Record
from edgelm.cli.main import app
from edgelm.model_folder.card import ModelCard, read_card
from edgelm.runtime import open_bundle

LISTED = "---\nlicense: apache-2.0\nbase_model:\n- someone/base\ntags: [a]\n---\n# A model\n"
OWN = "---\nlicense: other\nlicense_name: our-licence\nlicense_link: https://example.org/licence\n---\n# A model\n"


def run(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


def front_matter(folder):
    return next(yaml.safe_load_all((folder / "README.md").read_text()))


def test_from_a_base_model_to_its_bundle(tmp_path):
    base, rows, recipe = make_checkpoint(tmp_path / "base"), tmp_path / "rows.jsonl", tmp_path / "recipe.yaml"
    (base / "README.md").write_text(OWN)
    (base / "LICENSE").write_text("You may.")
    rows.write_text(
        "".join(
            json.dumps({"text": text, "label": ["negative", "positive"][i % 2]}) + "\n" for i, text in enumerate(TEXTS)
        )
    )
    recipe.write_text("name: r\nstages:\n  - {stage: prune, keep_heads: 0.5, ffn_multiple: 8, samples: 4}\n")
    given = ["--data", rows, "--eval", rows]
    run("finetune", base, *given, "--max-steps", 1, "--output", tmp_path / "tuned")
    run("compress", tmp_path / "tuned", *given, "--recipe", recipe, "--output", tmp_path / "small")
    for folder in (tmp_path / "tuned", tmp_path / "small"):
        said = {"license": "other", "license_name": "our-licence", "license_link": "https://example.org/licence"}
        assert said.items() <= front_matter(folder).items()
        assert f"# {folder.name}\n" in (folder / "README.md").read_text()
        assert (folder / "LICENSE").read_text() == "You may."
    told = HubCard.load(tmp_path / "small" / "README.md")
    assert {result.dataset_split for result in told.data.eval_results} == {"train"}  # the rows it learnt from
    assert "edgelm compress teacher --data" in told.text
    run("export", tmp_path / "small", "--output", tmp_path / "b.edge", "--precision", "fp32", "--eval", rows)
    bundle = open_bundle(tmp_path / "b.edge")
    card = HubCard.load(tmp_path / "b.edge" / "README.md")
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found["accuracy"] == pytest.approx(bundle.manifest.quality["bundle"]["accuracy"], abs=1e-6)
    for text in (told.content, card.content):
        assert str(tmp_path) not in text
        assert "our-licence" in text
    said = json.loads(bundle.read("sbom.cdx.json"))["metadata"]["component"]["licenses"]
    assert said == [{"license": {"name": "our-licence", "url": "https://example.org/licence"}}]
    assert bundle.read("licenses/model-LICENSE") == b"You may."


def carry(source, made):
    write_checkpoint_card(made, Record(SENTIMENT, source=str(source)), name="made", source=source)


@pytest.mark.parametrize(
    ("text", "carried"),
    [
        (LISTED, {"license": "apache-2.0", "base_model": ["someone/base"]}),
        ('---\nlicense: "yes"\nbase_model: base\nlanguage: [en, no]\n---\n',
         {"license": "yes", "base_model": ["base"], "language": ["en", "no"]}),
        ("---\nlicense: other\nlanguage: fr\n---\n", {"license": "other", "language": ["fr"]}),
    ],
)  # fmt: skip
def test_what_is_carried_is_read_as_it_was(tmp_path, text, carried):
    source, made = tmp_path / "source", tmp_path / "made"
    source.mkdir()
    made.mkdir()
    (source / "README.md").write_text(text)
    (source / "NOTICE.txt").write_bytes(b"\xff")
    carry(source, made)
    own = ("library_name", "pipeline_tag", "tags")
    assert {name: value for name, value in front_matter(made).items() if name not in own} == carried
    assert read_card(made) == read_card(source)


def test_without_a_card_nothing_is_said_of_licences(tmp_path):
    (tmp_path / "made").mkdir()
    carry(tmp_path / "model.gguf", tmp_path / "made")
    assert read_card(tmp_path / "made") == ModelCard()
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["README.md"]


def test_the_hub_is_told_no_base_model_that_lies_on_a_disk(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "README.md").write_text("---\nbase_model: [/home/someone/models/base, ./base, org/base]\n---\n")
    carry(tmp_path, tmp_path / "made")
    assert front_matter(tmp_path / "made")["base_model"] == ["org/base"]


def test_a_model_of_the_hub_is_the_base_of_what_is_made_of_it(tmp_path):
    fetched = tmp_path / "models--org--small-bert" / "snapshots" / "0123abcd"
    fetched.mkdir(parents=True)
    (fetched / "README.md").write_text(LISTED)
    found = read_card(fetched)
    assert (found.licence, found.hub_ids) == ("apache-2.0", ("org/small-bert",))


def test_an_adapter_that_names_no_licence_has_that_of_its_base(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "README.md").write_text(LISTED)
    (base / "LICENSE").write_text("You may.")
    (adapter / "README.md").write_text(f"---\nbase_model: {base}\n---\n")
    found = read_card(adapter, base=base)
    assert (found.licence, found.texts) == ("apache-2.0", {"LICENSE": b"You may."})
    (adapter / "README.md").write_text("---\nlicense: mit\n---\n")
    assert read_card(adapter, base=base).licence == "mit"


def test_a_base_model_on_a_disk_is_told_without_its_folders(tmp_path):
    (tmp_path / "README.md").write_text("---\nbase_model: /home/someone/models/base\n---\n")
    assert read_card(tmp_path).base_models == ("models/base",)


def test_a_model_of_the_hub_is_fetched_with_its_card_and_licences(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, allow_patterns: asked.extend(allow_patterns) or tmp_path
    )
    make_checkpoint(tmp_path)
    assert find_checkpoint("someone/base").record.source == "someone/base"
    for name in ("README.md", "LICENSE", "NOTICE.txt", "LICENSE.md"):
        assert any(fnmatch.fnmatch(name, pattern) for pattern in asked), name
    assert not any(fnmatch.fnmatch("pytorch_model.bin", pattern) for pattern in asked)
