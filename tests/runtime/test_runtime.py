"""A bundle answers, proves itself, and refuses to be anything else than what it was made."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from bundles import SENTIMENT, WORDS, make_bundle, reseal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.cli.main import app
from edgelm.errors import BundleError, UsageError
from edgelm.runtime.archive import pack
from edgelm.runtime.inputs.text import load_text_processor
from edgelm.runtime.verify import verify
from edgelm.tasks.text import SentenceEmbedding, TextClassification

texts = st.lists(st.sampled_from([*WORDS[2:], "unheard", "é"]), min_size=0, max_size=40).map(" ".join)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("runtime") / "b")


def run(*arguments, **options):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts.filter(str.strip), min_size=1, max_size=5))  # blanks become no token here
def test_a_batch_answers_as_its_texts_do_alone_and_scores_sum_to_one(bundle, rows):
    model = edgelm.runtime.load(bundle)
    for alone, together in zip([model(text) for text in rows], model(rows), strict=True):
        assert alone["label"] == together["label"]
        assert alone["scores"] == pytest.approx(together["scores"], abs=1e-5)
        assert sum(alone["scores"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("task", "keys"),
    [
        (SENTIMENT, {"label", "score", "scores"}),
        (TextClassification(problem="multi-label", labels=("a", "b", "c")), {"labels", "scores"}),
        (TextClassification(problem="regression", labels=("score",)), {"score"}),
        (SentenceEmbedding(), {"embedding"}),
    ],
)
def test_every_task_has_its_answer(tmp_path, task, keys):
    answer = edgelm.runtime.load(make_bundle(tmp_path / "b", task))("a good film")
    assert set(answer) == keys
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize("text", ["", "film " * 20_000, "\0", "🎬"])
def test_texts_of_any_length_and_kind_are_answered(bundle, text):
    assert edgelm.runtime.load(bundle)(text)["label"] in SENTIMENT.labels


def test_a_pair_where_one_text_is_read_is_refused(bundle):
    with pytest.raises(UsageError, match="single texts"):
        edgelm.runtime.load(bundle)(("a", "b"))


def test_the_single_file_form_is_the_same_bundle(bundle, tmp_path):
    pack(bundle, tmp_path / "b.edgelm")
    pack(bundle, tmp_path / "again.edgelm")
    assert (tmp_path / "b.edgelm").read_bytes() == (tmp_path / "again.edgelm").read_bytes()
    assert verify(tmp_path / "b.edgelm").ok
    assert edgelm.runtime.load(tmp_path / "b.edgelm")("a good film") == edgelm.runtime.load(bundle)("a good film")


def change_byte(folder, name="model.onnx"):
    data = bytearray((folder / name).read_bytes())
    data[-20] ^= 1
    (folder / name).write_bytes(bytes(data))


def rewrite(folder, change):
    values = json.loads((folder / "manifest.json").read_text())
    change(values)
    (folder / "manifest.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change_byte, "changed"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "missing"),
        (lambda folder: (folder / "extra.bin").write_bytes(b"x"), "not in the manifest"),
        (lambda folder: (folder / "manifest.json").unlink(), "missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not a manifest"),
        (lambda folder: rewrite(folder, lambda values: values.update(schema=99)), "newer edgelm"),
        (lambda folder: rewrite(folder, lambda values: values.pop("task")), "task"),
        (lambda folder: rewrite(folder, lambda values: values["files"][0].update(path="../../etc/passwd")), "outside"),
        (lambda folder: rewrite(folder, lambda values: values["files"][0].update(path="/etc/passwd")), "outside"),
    ],
)
def test_verify_says_what_is_wrong_and_exits_with_4(tmp_path, damage, words):
    folder = make_bundle(tmp_path / "b")
    damage(folder)
    result = run("verify", folder)
    assert result.exit_code == 4
    assert words in result.stdout + result.stderr


def test_a_link_that_leaves_the_bundle_is_refused(tmp_path):
    folder = make_bundle(tmp_path / "b")
    (tmp_path / "secret").write_bytes((folder / "golden.json").read_bytes())
    (folder / "golden.json").unlink()
    (folder / "golden.json").symlink_to(tmp_path / "secret")
    assert "leads out" in run("verify", folder).stdout


def test_golden_samples_that_come_out_differently_fail(tmp_path):
    folder = make_bundle(tmp_path / "b")
    golden = json.loads((folder / "golden.json").read_text())
    golden["outputs"][0][0][0] += 1
    (folder / "golden.json").write_text(json.dumps(golden))

    def update(values):
        import hashlib

        data = (folder / "golden.json").read_bytes()
        for entry in values["files"]:
            if entry["path"] == "golden.json":
                entry.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    rewrite(folder, update)
    result = verify(folder)
    assert [check.name for check in result.checks if not check.ok] == ["golden samples"]


def test_a_truncated_or_lying_archive_is_refused(bundle, tmp_path):
    pack(bundle, tmp_path / "b.edgelm")
    whole = (tmp_path / "b.edgelm").read_bytes()
    (tmp_path / "cut.edgelm").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="damaged"):
        edgelm.runtime.load(tmp_path / "cut.edgelm")
    with (
        zipfile.ZipFile(tmp_path / "b.edgelm") as old,
        zipfile.ZipFile(tmp_path / "bomb.edgelm", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, b"\0" * 50_000_000 if name == "model.onnx" else old.read(name))
    with pytest.raises(BundleError, match="the manifest says"):
        edgelm.runtime.load(tmp_path / "bomb.edgelm")


def test_a_graph_that_onnxruntime_cannot_load_is_a_bundle_error(tmp_path):
    folder = make_bundle(tmp_path / "b")
    size = (folder / "model.onnx").stat().st_size
    (folder / "model.onnx").write_bytes(b"x" * size)
    with pytest.raises(BundleError, match="content was changed"):
        edgelm.runtime.load(folder)
    with pytest.raises(BundleError, match="no ONNX model"):
        edgelm.runtime.load(reseal(folder))
    (folder / "model.onnx").write_bytes(helper.make_model(helper.make_graph([], "empty", [], [])).SerializeToString())
    reseal(folder)
    with pytest.raises(BundleError, match=r"cannot load model\.onnx"):
        edgelm.runtime.load(folder)
    (folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match="11 bytes; the manifest says"):
        edgelm.runtime.load(folder)


def test_run_prints_labels_json_lines_and_reads_files(bundle, tmp_path):
    assert run("run", bundle, "a good film").stdout.split()[0] in SENTIMENT.labels
    (tmp_path / "texts.txt").write_text("a good film\n\nthe bad film\n")
    result = run("run", bundle, "--file", tmp_path / "texts.txt", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["text"] for line in lines] == ["a good film", "", "the bad film"]
    assert run("run", bundle, "--file", "-", "--json", input="film\n").stdout.count("\n") == 1
    assert run("run", bundle).exit_code == 2
    assert run("run", bundle, "--file", tmp_path / "none.txt").exit_code == 4
    assert run("run", tmp_path / "none", "x").exit_code == 4


def test_the_bundles_own_script_runs_where_edgelm_is_not_installed(bundle, tmp_path):
    """Isolated mode, with every place from which edgelm could be imported taken away: only the copy in the bundle is
    left."""
    hide = (
        "import importlib.util, os, runpy, sys\n"
        "sys.path = [entry for entry in sys.path if not os.path.isfile(os.path.join(entry, 'edgelm', '__init__.py'))]\n"
        "sys.meta_path = [finder for finder in sys.meta_path if 'editable' not in str(finder).lower()]\n"
        "spec = importlib.util.find_spec('edgelm'); assert spec is None or spec.origin is None\n"
        f"sys.argv = ['run.py', 'a good film', 'the bad film']; runpy.run_path({str(bundle / 'run.py')!r}, "
        "run_name='__main__')\n"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", hide], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 0, result.stderr
    model = edgelm.runtime.load(bundle)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["label"] for answer in answers] == [model("a good film")["label"], model("the bad film")["label"]]
    proof = subprocess.run(
        [sys.executable, bundle / "run.py", "--verify"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert proof.returncode == 0, proof.stderr
    assert json.loads(proof.stdout)["ok"]
    forced = [
        subprocess.run([sys.executable, bundle / "run.py", "--provider", name, "a"], capture_output=True, text=True)
        for name in ("cpu", "qnn")
    ]
    assert [done.returncode for done in forced] == [0, 2]
    assert "has no QNNExecutionProvider" in forced[1].stderr


def test_cuda_is_looked_for_where_pip_puts_it(tmp_path, monkeypatch):
    """What onnxruntime says of libraries that it misses is not the answer of a model, and no reason to fail."""
    import onnxruntime

    asked = []

    def preload():
        asked.append("cuda")
        print("Failed to load libcublas")
        raise RuntimeError("no folder")

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    folder = make_bundle(tmp_path / "b", runtimes=("onnxruntime-cuda", "onnxruntime-cpu"))
    result = run("run", folder, "a good film", "--json")
    assert asked == ["cuda"]
    assert json.loads(result.stdout)["label"] in SENTIMENT.labels
    assert "not cuda: CUDAExecutionProvider does not start here" in result.stderr


def test_inspect_describes_bundles_and_graphs(bundle, tmp_path):
    values = json.loads(run("inspect", bundle, "--json").stdout)
    assert values["kind"] == "bundle"
    assert values["graph"]["operators"]["Gemm"] == 1
    graph = json.loads(run("inspect", bundle / "model.onnx", "--json").stdout)["graph"]
    assert graph["inputs"][0] == {"name": "input_ids", "shape": ["batch", "sequence"]}
    assert graph["constant_bytes_by_dtype"]["float"] >= 4 * (len(WORDS) * 4 + 4 * 2 + 2)
    assert run("inspect", tmp_path / "none").exit_code == 4


def test_sizes_are_looked_up_in_a_bundle_of_one_file(bundle, tmp_path):
    pack(bundle, tmp_path / "whole.edgelm")
    edgelm.runtime.open_bundle(tmp_path / "whole.edgelm").check_sizes()
    for name, content, words in (
        ("model.onnx", b"half", "model.onnx has 4 bytes"),
        ("golden.json", None, "golden.json is missing"),
    ):
        with (
            zipfile.ZipFile(tmp_path / "whole.edgelm") as whole,
            zipfile.ZipFile(tmp_path / f"{name}.edgelm", "w") as cut,
        ):
            for entry in whole.namelist():
                if entry != name or content is not None:
                    cut.writestr(entry, content if entry == name else whole.read(entry))
        with pytest.raises(BundleError, match=words):
            edgelm.runtime.open_bundle(tmp_path / f"{name}.edgelm").check_sizes()


def test_texts_become_inputs_without_the_graph(tmp_path):
    """A bundle for another device may have a graph that nothing here can load."""
    folder = make_bundle(tmp_path / "b")
    (folder / "model.onnx").unlink()
    encode = load_text_processor(edgelm.runtime.open_bundle(folder))
    assert encode(["a good film"])["input_ids"].tolist() == [[5, 2, 4]]


def test_infer_takes_what_tokenize_gives(bundle):
    model = edgelm.runtime.load(bundle)
    feeds = model.tokenize(["a good film", "film"])
    assert feeds["input_ids"].tolist() == [[5, 2, 4], [4, 0, 0]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert model.infer(feeds).shape == (2, 2)
    assert model.infer(feeds).dtype == np.float32
