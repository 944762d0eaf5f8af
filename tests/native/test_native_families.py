"""Exported bundles by the library, against onnxruntime on their graphs: families, pruned shapes, tasks, batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from models import make_checkpoint, make_wide

from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.errors import BundleError, UsageError
from edgelm.export.pipeline import export
from edgelm.quantize.settings import Quantization
from edgelm.runtime import load
from edgelm.runtime.bundle import open_bundle
from edgelm.runtime.native import PROGRAM_FILE, NativeSession
from edgelm.runtime.session import make_session
from edgelm.runtime.verify import verify

WORDS = ("lights", "film", "heat", "music")
TEXTS = tuple(f"turn the {WORDS[index % 4]} on in room {index}" for index in range(32))
SAID = (
    "bert",
    "distilbert",
    "roberta",
    "electra",
    "albert",
    "mpnet",
    "modernbert",
    "deberta-v2",
)  # families whose graphs have all their words
# An export takes long; these count positions from padding, add them to the scores, and turn queries and keys by them.
FEW = ("roberta", "mpnet", "modernbert")
QUICK = FEW[1:]  # MPNet counts positions as RoBERTa does
OTHERS = [pytest.param(family, marks=pytest.mark.slow) for family in SAID if family not in QUICK]


def exported(output, checkpoint, **settings):
    """A bundle in INT8 for a CPU."""
    export(
        checkpoint,
        output=output,
        device=load_device("cpu"),
        precision="int8",
        calibration=Dataset("memory", texts=TEXTS),
        quantization=Quantization(method="minmax"),
        **settings,
    )
    return output


def compared(path, batches) -> np.ndarray:
    """The largest distance from onnxruntime of each row of outputs, in spans of its batch."""
    bundle = open_bundle(path)
    graph = bundle.manifest.graph()
    mine, theirs = NativeSession(bundle, graph, threads=2), make_session(bundle, threads=1)
    distances = []
    for feeds in batches:
        wanted = {spec.name: feeds[spec.name] for spec in graph.inputs}
        for found, expected in zip(mine.run(None, wanted), theirs.run(None, wanted), strict=True):
            assert found.shape == expected.shape
            apart = np.abs(found - expected).reshape(len(found), -1).max(-1)
            distances.append(apart / max(float(np.ptp(expected)), 1e-3))
    return np.concatenate(distances)


def batches_of(pad: int):
    """Ids of many lengths, alone and in batches with padding."""
    random = np.random.default_rng(0)
    for batch, tokens in [(1, length) for length in (1, 2, 8, 17, 25, 40)] + [(3, 13), (4, 33), (2, 100)]:
        ids, mask = random.integers(5, 120, (batch, tokens)), np.ones((batch, tokens), np.int64)
        for row in range(1, batch):
            mask[row, tokens - 2 * row :] = 0
            ids[row, tokens - 2 * row :] = pad
        yield {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


@pytest.mark.parametrize("cut", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["full", "cut"])
@pytest.mark.parametrize("family", [*QUICK, *OTHERS])
def test_vectors_are_those_of_onnxruntime(native, tmp_path_factory, family, cut):
    """A byte that is rounded the other way, by sums in another order, moves a vector by far more than the rest does:
    rows with one are counted. These are vectors of all tokens of random models, where any byte shows."""
    folder = tmp_path_factory.mktemp(family)
    bundle = exported(folder / "bundle", make_wide(folder, family, cut=cut))
    distances = compared(bundle, batches_of(pad=1 if family in FEW else 0))
    assert (distances < 1e-5).mean() >= 0.75  # 1 to 3 of 15 rows had such a byte in any family
    assert distances.max() < 0.01  # and this is what it did


@pytest.fixture(autouse=True)
def _preferred(monkeypatch):
    """Whatever instructions this machine has."""
    monkeypatch.setattr("edgelm.runtime.native.is_faster", lambda: True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    checkpoint = make_checkpoint(folder / "model", "bert", hidden=128, heads=4, ffn=256, spread=0.1)
    return exported(folder / "bundle", checkpoint)


def test_a_graph_for_one_text_at_a_time_has_a_program(native, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "model", "bert", hidden=128, heads=4, ffn=256, spread=0.1)
    single = exported(tmp_path / "bundle", checkpoint, single=True)
    ids = np.random.default_rng(0).integers(5, 100, (8, 12))
    assert np.median(compared(single, [{"input_ids": ids}])) < 1e-5


def test_the_runtime_takes_it_first_and_says_so(native, bundle):
    best = native.instruction_sets()[0]
    model = load(bundle)
    assert model.opened.why == f"native, by edgelm-native with {best}"
    graph = load(bundle, provider="cpu")
    assert graph.opened.why == "cpu, by onnxruntime"
    for text in TEXTS[:8]:
        mine, theirs = model(text), graph(text)
        assert mine["label"] == theirs["label"]
        assert mine["score"] == pytest.approx(theirs["score"], abs=1e-3)  # a byte rounded the other way


def test_verify_replays_the_golden_samples_by_both(native, bundle):
    checks = {check.name: check for check in verify(bundle).checks}
    assert all(check.ok for check in checks.values())
    assert checks["provider"].detail.startswith("native, by edgelm-native")
    assert "8 replayed" in checks["golden samples"].detail
    assert "8 replayed" in checks["golden samples by the graph"].detail
    assert "golden samples by the graph" not in {check.name for check in verify(bundle, provider="cpu").checks}


@pytest.mark.parametrize("arguments", [[TEXTS[0]], ["--verify"]], ids=["answer", "verify"])
def test_a_device_with_the_library_needs_no_onnxruntime(native, bundle, tmp_path, arguments):
    if native.instruction_sets()[0] == "avx-vnni":
        pytest.skip("where onnxruntime is the faster one, it is what runs the bundle")
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not installed')")
    package = Path(native.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{package}"}
    command = [sys.executable, bundle / "run.py", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    if arguments == ["--verify"]:
        assert answer["ok"]
        assert (
            "onnxruntime is not installed"
            in {check["name"]: check["detail"] for check in answer["checks"]}["golden samples by the graph"]
        )
    else:
        assert answer["label"] == load(bundle, provider="cpu")(TEXTS[0])["label"]


def test_a_program_of_a_newer_library_leaves_the_graph_to_answer(native, bundle, monkeypatch):
    """Whatever the library refuses, the bundle still answers, and says why."""
    broken = open_bundle(bundle)
    read = type(broken).read
    newer = (bundle / PROGRAM_FILE).read_bytes().replace(b"edgelm-native 1", b"edgelm-native 9")
    monkeypatch.setattr(type(broken), "read", lambda self, name: newer if name == PROGRAM_FILE else read(self, name))
    opened = load(broken).opened
    assert opened.provider == "cpu"
    assert "not native" in opened.why and "newer edgelm" in opened.why
    with pytest.raises(UsageError, match="newer edgelm"):
        load(broken, provider="native")


def test_ids_that_no_table_has_are_refused(native, bundle):
    model = load(bundle, provider="native")
    feeds = {name: values.copy() for name, values in model.tokenize([TEXTS[0]]).items()}
    feeds["input_ids"][0, 1] = 10**6
    with pytest.raises(BundleError, match="index 1000000"):
        model.infer(feeds)
    assert model(TEXTS[0])["label"] in ("negative", "positive")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["question-answering", "token-classification"])
def test_tasks_of_tokens_have_an_output_for_each(native, tmp_path, kind):
    labels = {"labels": ("O", "B-x", "I-x")} if kind == "token-classification" else {}
    checkpoint = make_checkpoint(tmp_path / "model", hidden=128, heads=4, ffn=256, spread=0.1, kind=kind, **labels)
    distances = compared(exported(tmp_path / "bundle", checkpoint), batches_of(pad=0))
    assert (distances < 1e-5).mean() >= 0.5  # as above, and each row has many tokens
    assert distances.max() < 0.05


@pytest.mark.slow
def test_a_graph_that_no_program_can_say_runs_by_onnxruntime(native, tmp_path):
    """Single texts have their types and mask made in the graph, which has no words yet."""
    bundle = exported(tmp_path / "bundle.edgelm", make_wide(tmp_path, "bert"), single=True)
    assert not open_bundle(bundle).has(PROGRAM_FILE)
    assert load(bundle).opened.why == "cpu, by onnxruntime"


def test_where_it_is_slower_the_graph_answers(native, bundle, monkeypatch):
    """Who names the library gets it."""
    monkeypatch.setattr("edgelm.runtime.native.is_faster", lambda: False)
    assert load(bundle).opened.why == "cpu, by onnxruntime"
    assert load(bundle, provider="native").opened.provider == "native"
