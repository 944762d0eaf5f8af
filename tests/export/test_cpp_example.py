"""A bundle carries a C++ example; built on this machine, it answers what the Python runtime answers."""

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import model_graph
from cpp_programs import build_program, run
from models import TEXTS, make_checkpoint, make_tokenizer
from onnx import helper, numpy_helper

import edgelm.runtime
from edgelm.bundles.cpp_example import cpp_files
from edgelm.bundles.write import write_bundle
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.runtime import open_bundle
from edgelm.runtime.golden import Golden
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.manifest_schemas import SCHEMA_VERSION
from edgelm.runtime.preprocessing import TextProcessing
from edgelm.runtime.verify import verify
from edgelm.tasks.table import make_task

LONGEST = 32
LONG = " ".join(TEXTS * 2)  # of more tokens than that


def make_bundle(folder, family="bert", **task):
    """A bundle with a real tokenizer, whose graph adds up what tokens and token types stand for: written, not exported,
    to be quick."""
    tokenizer = make_tokenizer(family)
    classes = {"kind": "text-classification", "labels": ("negative", "positive")}
    task = make_task(**(task if "kind" in task else classes | task))
    width = max(1, len(task.labels)) if task.kind == "text-classification" else 4
    names = ["input_ids", "attention_mask", "token_type_ids"][: len(tokenizer.model_input_names)]
    rng = np.random.default_rng(0)
    tables = {
        "input_ids": rng.normal(size=(len(tokenizer), width)),
        "attention_mask": np.ones((2, width)),
        "token_type_ids": rng.normal(size=(2, width)),
    }
    nodes = [helper.make_node("Gather", [f"{name}_table", name], [f"{name}_rows"]) for name in names]
    nodes += [helper.make_node("Sum", [f"{name}_rows" for name in names], ["rows"])]
    nodes += [helper.make_node("ReduceMean", ["rows", "one"], [task.output_names[0]], keepdims=0)]
    constants = [numpy_helper.from_array(tables[name].astype(np.float32), f"{name}_table") for name in names]
    constants += [numpy_helper.from_array(np.array([1]), "one")]
    inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "sequence"]) for name in names]
    outputs = [helper.make_tensor_value_info(task.output_names[0], onnx.TensorProto.FLOAT, ["batch", width])]
    graph = helper.make_model(
        helper.make_graph(nodes, "sum", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    manifest = Manifest(
        name="sum",
        created="2026-01-01T00:00:00+00:00",
        task=task,
        family=family,
        precision="fp32",
        graphs=(model_graph(names, {task.output_names[0]: ("batch", width)}),),
        tokenization=TextProcessing(LONGEST, tokenizer.pad_token_id, tokenizer.pad_token),
    )
    write_bundle(folder, manifest, {"model.onnx": graph}, tokenizer, Golden([], [], [], tolerance=0), overwrite=False)
    return folder


OLD_BUNDLES = Path(__file__).parents[1] / "runtime" / "old_bundles"


def test_a_bundle_carries_the_example_and_lists_it(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    assert "cpp/answer.cpp" in cpp_files("answer")
    listed = {entry.path for entry in open_bundle(bundle).manifest.files}
    assert {name for name in listed if name.startswith("cpp/")} == set(cpp_files("answer"))
    for name, source in cpp_files("answer").items():
        assert (bundle / name).read_bytes() == source.read_bytes()
    assert not [name for name in listed if "/generation/" in name]  # which models that write need
    assert verify(bundle, replay=False).ok  # hashes too
    assert "cpp/answer.cpp" in (bundle / "README.md").read_text()


def test_a_bundle_that_the_example_does_not_answer_carries_none(tmp_path):
    bundle = make_bundle(tmp_path / "bundle", kind="multiple-choice")
    assert not (bundle / "cpp").exists()
    assert "C++" not in (bundle / "README.md").read_text()


def test_the_example_reads_the_bundles_that_it_lies_in():
    """Looked up in its source: this runs where nothing can be compiled, so a new schema cannot leave the example
    behind."""
    assert f"constexpr int kSchema = {SCHEMA_VERSION};" in cpp_files("answer")["cpp/bundle.h"].read_text()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The example's executable, and the bundle that it was built from."""
    bundle = make_bundle(tmp_path_factory.mktemp("built") / "bundle")
    return build_program(bundle, "answer"), bundle


def parts(answer):
    """An answer's numbers, in their order, and everything else that it says."""
    scores = answer.get("scores", {})
    numbers = [*answer.get("embedding", ()), *scores.values(), *([answer["score"]] if "score" in answer else [])]
    return numbers, (list(answer), answer.get("label"), answer.get("labels"), list(scores))


def check_answers(executable, bundle):
    model = edgelm.runtime.load(bundle)
    texts = [*TEXTS[:3], LONG, "", "Ünïcode, 电影 and 🎬"]
    for first, second in zip(texts, texts[::-1], strict=True):
        words = (first, second) if model.manifest.task.pair else (first,)
        done = run(executable, bundle, *words)
        assert done.returncode == 0, done.stderr
        found, said = parts(json.loads(done.stdout))
        wanted, meant = parts(model(words if len(words) == 2 else first))
        assert said == meant
        assert found == pytest.approx(wanted, abs=1e-5)  # another onnxruntime may sum in another order


@pytest.mark.cpp
@pytest.mark.parametrize(
    ("family", "task"),
    [
        ("bert", {}),
        ("bert", {"pair": True}),
        ("roberta", {"pair": True}),
        ("distilbert", {"problem": "multi-label", "labels": ("a", "b", "é")}),
        ("roberta", {"problem": "regression", "labels": ("score",)}),
        ("bert", {"kind": "sentence-embedding"}),
    ],
    ids=["labels", "pairs", "byte-level-pairs", "multi-label", "regression", "embedding"],
)
def test_the_example_answers_what_python_answers(built, tmp_path, family, task):
    check_answers(built[0], make_bundle(tmp_path / "bundle", family, **task))


@pytest.mark.cpp
@pytest.mark.parametrize("side", ["right", "left"])
def test_pairs_of_very_long_texts_are_cut_as_python_cuts_them(built, tmp_path, side):
    """The tokenizers library's own cut keeps a window for every part of the one with every part of the other."""
    bundle = make_bundle(tmp_path / "bundle", pair=True)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["tokenization"]["truncation_side"] = side
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    model = edgelm.runtime.load(bundle)
    short, middle, long = TEXTS[0], " ".join(TEXTS[:2]), " ".join(TEXTS * 10)
    for pair in ((long, long), (short, long), (long, short), (middle, long), (long, "")):
        done = run(built[0], bundle, *pair)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["scores"] == pytest.approx(model(pair)["scores"], abs=1e-5)


@pytest.mark.cpp
@pytest.mark.parametrize("single", [False, True], ids=["batches", "single"])
def test_the_example_answers_with_an_exported_int8_model(built, tmp_path, single):
    folder = make_checkpoint(tmp_path / "model", hidden=128, heads=4, ffn=256, spread=0.1)
    pairs = Dataset("memory", texts=TEXTS, pairs=TEXTS[::-1])
    export(
        folder,
        output=tmp_path / "bundle",
        device=load_device("cpu"),
        precision="int8",
        calibration=pairs,
        single=single,
    )
    check_answers(built[0], tmp_path / "bundle")


@pytest.mark.cpp
@pytest.mark.parametrize("schema", [1, 2, 3])
def test_the_example_answers_with_bundles_of_older_schemas(built, tmp_path, schema):
    with zipfile.ZipFile(OLD_BUNDLES / f"schema-{schema}.zip") as archive:
        archive.extractall(tmp_path / "old")
    done = run(built[0], tmp_path / "old", "a good film")
    assert done.returncode == 0, done.stderr
    wanted = edgelm.runtime.load(tmp_path / "old")("a good film")
    assert json.loads(done.stdout)["scores"] == pytest.approx(wanted["scores"], abs=1e-5)


@pytest.mark.cpp
def test_building_leaves_the_bundle_as_it_was_made(built):
    assert verify(built[1], replay=False).ok


@pytest.mark.cpp
def test_what_cannot_be_answered_is_said(built, tmp_path):
    executable, bundle = built
    assert run(executable, bundle).returncode == 2
    assert "one text" in run(executable, bundle, "a", "b").stderr
    done = run(executable, tmp_path / "none", "a")
    assert done.returncode == 1
    assert "manifest.json: cannot be read" in done.stderr
    done = run(executable, make_bundle(tmp_path / "endings", kind="multiple-choice"), "a", "b")
    assert done.returncode == 1
    assert "the model is for multiple-choice" in done.stderr
    several = make_bundle(tmp_path / "several")
    manifest = json.loads((several / "manifest.json").read_text())
    manifest["graphs"] = [manifest["graphs"][0] | {"name": name} for name in ("encoder", "decoder")]
    (several / "manifest.json").write_text(json.dumps(manifest))
    assert (
        "has the graphs encoder, decoder; this example runs models of one graph" in run(executable, several, "a").stderr
    )
    newer = make_bundle(tmp_path / "newer")
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps(manifest | {"schema": SCHEMA_VERSION + 1}))
    done = run(executable, newer, "a")
    assert done.returncode == 1
    assert f"this example reads up to {SCHEMA_VERSION}" in done.stderr
