"""Bundles that older versions of edgelm made are read as before, and stay bundles that their own, older runtime reads.

`old_bundles/` holds one of each older schema, made by the `make_bundle` of that day's tests: embeddings, their sum, a
matrix.
"""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import WORDS, set_field
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.bundles import edit as rewrite
from edgelm.cli.main import app
from edgelm.errors import BundleError
from edgelm.profile.pipeline import profile
from edgelm.profile.tune import tune
from edgelm.runtime import open_bundle
from edgelm.runtime.archive import pack
from edgelm.runtime.graph_spec import Parity
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.saturation import is_proven
from edgelm.runtime.verify import verify

OLD = sorted((Path(__file__).parent / "old_bundles").glob("*.zip"))


@pytest.fixture(params=OLD, ids=lambda file: file.stem)
def folder(request, tmp_path):
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path / "b")
    return tmp_path / "b"


def positive(text):
    """The score of the second label, as `make_bundle` draws the weights."""
    rng = np.random.default_rng(0)
    table, matrix, bias = (rng.normal(size=size).astype(np.float32) for size in ((len(WORDS), 4), (4, 2), 2))
    logits = table[[WORDS.index(word) for word in text.split()]].sum(axis=0) @ matrix + bias
    return 1 / (1 + np.exp(logits[0] - logits[1]))


def run_py(folder, *words):
    done = subprocess.run(
        [sys.executable, folder / "run.py", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_there_is_one_bundle_of_each_older_schema():
    assert [open_bundle(file).manifest.schema for file in OLD] == [1, 2, 3]


def test_an_old_bundle_answers_as_ever(folder):
    for path in (folder, pack_as(folder, folder.with_name("b.edgelm"))):
        answers = edgelm.runtime.load(path)(["a good film", "bad"])
        assert [answer["scores"]["positive"] for answer in answers] == pytest.approx(
            [positive("a good film"), positive("bad")], abs=1e-6
        )
        assert verify(path).ok
        for command in (["run", path, "a good film"], ["inspect", path], ["verify", path]):
            result = CliRunner().invoke(app, [str(word) for word in command])
            assert result.exit_code == 0, result.output
    manifest = open_bundle(folder).manifest
    assert (manifest.tokenization.truncation_side, is_proven(manifest)) == ("right", True)


def test_an_old_manifest_is_one_graph_whose_tensors_have_roles_and_is_written_as_it_was(folder):
    text = (folder / "manifest.json").read_text()
    manifest = Manifest.from_json(text)
    graph = manifest.graph()
    assert [(spec.name, spec.role) for spec in (*graph.inputs, *graph.outputs)] == [
        ("input_ids", "tokens"),
        ("attention_mask", "mask"),
        ("logits", "logits"),
    ]
    before, after = json.loads(text), json.loads(manifest.to_json())
    assert {name: after[name] for name in before.keys() - {"task", "tokenization"}} == {
        name: before[name] for name in before.keys() - {"task", "tokenization"}
    }
    assert "graphs" not in after


def test_the_engine_plan_of_an_old_bundle_names_the_axes_that_its_sizes_are_of(tmp_path):
    with zipfile.ZipFile(OLD[2]) as archive:
        manifest = Manifest.from_json(archive.read("manifest.json"))
    assert [profile.axes for profile in manifest.plan.profiles] == [
        {"batch": (1, 2, 2), "sequence": (1, 8, 8)},
        {"batch": (1, 2, 2), "sequence": (1, 16, 32)},
    ]
    assert manifest.graph().parity == Parity(64, 1e-6, 1e-7, 0.0, 1e-3, 8)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("inputs", 0, "name"), "pixels", r"inputs.0.: 'pixels' is not one of input_ids"),
        (("inputs", 0), "input_ids", "inputs.0.: 'input_ids' is not an object"),
        (("outputs",), [], "outputs: there is none"),
        (("plan",), {"profiles": [{"least": [1]}]}, "plan: profiles.0.: least: .1. is not a list of 2"),
        (("plan",), {"profiles": [{"least": [1, 1]}]}, "not a manifest of schema 3 .*usual"),
        (("plan",), {"profiles": "all"}, "profiles: 'all' is not a list"),
        (("engines",), [{"plan": 1}], "plan: 1 is not an object"),
        (("session",), {"mapped": 2}, "mapped"),
    ],
    ids=str,
)
def test_a_forged_manifest_of_an_older_schema_is_refused_by_its_place(path, value, words):
    with zipfile.ZipFile(OLD[2]) as archive:
        values = json.loads(archive.read("manifest.json"))
    set_field(path, value)(values)
    with pytest.raises(BundleError, match=words):
        Manifest.from_json(json.dumps(values))


@pytest.mark.parametrize("folder", OLD[2:], ids=["schema-3"], indirect=True)
def test_an_old_bundle_is_profiled_and_tuned_as_ever(folder, threads_alone, warm_workers):
    (measured,) = profile(folder, sequence_lengths=[3], runs=20, warmup=1, loads=1)
    assert measured.cases and measured.manifest["graphs"][0]["inputs"][0]["role"] == "tokens"
    assert tune(folder).after.p50_ms > 0
    after = json.loads((folder / "manifest.json").read_text())
    assert "graphs" not in after and after["session"]["tuned"]
    assert run_py(folder, "--verify")["ok"]


def pack_as(folder, file):
    pack(folder, file)
    return file


def test_new_settings_in_an_old_bundle_leave_it_one_that_its_own_runtime_reads(folder):
    before = json.loads((folder / "manifest.json").read_text())
    bundle, settings = (
        open_bundle(folder),
        {"intra_op_num_threads": 1, "optimized_by": edgelm.runtime.session.optimizer()},
    )
    with rewrite.open_draft(bundle) as draft:
        rewrite.add_optimized_graph(draft, {"mapped": True})
        rewrite.save_settings(bundle, draft, settings)
    after = json.loads((folder / "manifest.json").read_text())
    assert after["session"] == settings
    assert {name for name in before if before[name] != after.get(name)} == {"session", "files"}
    assert after.keys() == before.keys()
    assert run_py(folder, "a good film")["scores"]["positive"] == pytest.approx(positive("a good film"), abs=1e-6)
    assert run_py(folder, "--verify")["ok"]
    assert edgelm.runtime.load(folder)("a good film")["scores"]["positive"] == pytest.approx(
        positive("a good film"), abs=1e-6
    )


def test_files_added_to_an_old_bundle_leave_the_rest_of_its_manifest(folder):
    before = json.loads((folder / "manifest.json").read_text())
    bundle = open_bundle(folder)
    rewrite.add_files(bundle, {"engines/x": b"1"}, replace(bundle.manifest))
    after = json.loads((folder / "manifest.json").read_text())
    assert {name for name in after if before.get(name) != after[name]} == {"files"}
    assert verify(folder).ok
