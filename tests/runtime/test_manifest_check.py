"""What a manifest or golden samples must not say is refused by its place, before anything is loaded."""

import json
import re

import pytest
from bundles import make_bundle, reseal, set_field
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.cli.main import app
from edgelm.errors import BundleError
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.verify import verify

FOLDER_KEY = "session.model_external_initializers_file_folder_path"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    return make_bundle(tmp_path / "b")


@pytest.mark.parametrize(
    ("session", "named"),
    [
        ({"entries": {FOLDER_KEY: "/etc"}}, FOLDER_KEY),
        ({"entries": {"session.intra_op.allow_spinning": "2"}}, "session.intra_op.allow_spinning"),
        ({"entries": {"session.intra_op.allow_spinning": ["1"]}}, "session.intra_op.allow_spinning"),
        ({"entries": ["session.intra_op.allow_spinning"]}, "entries"),
        ({"ep.context_file_path": "/etc/passwd"}, "ep.context_file_path"),
        ({"disabled_optimizers": ["ConstantFolding"]}, "disabled_optimizers"),
        ({"disabled_optimizers": "SkipLayerNormFusion"}, "disabled_optimizers"),
        ({"intra_op_num_threads": 10**9}, "intra_op_num_threads"),
        ({"intra_op_num_threads": "2"}, "intra_op_num_threads"),
        ({"intra_op_num_threads": True}, "intra_op_num_threads"),
        ({"mapped": "no"}, "mapped"),
        ({"optimized_by": "../../x"}, "optimized_by"),
        ({"tuned": 1}, "tuned"),
    ],
)
def test_session_settings_that_edgelm_never_writes_are_refused_by_name(folder, session, named):
    reseal(folder, set_field(("graphs", 0, "session"), session))
    with pytest.raises(BundleError, match=named):
        edgelm.runtime.load(folder)
    assert run("verify", folder).exit_code == 4


def test_session_settings_that_edgelm_writes_are_taken(folder):
    entries = {"session.intra_op.allow_spinning": "0", "session.disable_prepacking": "1"}
    settings = {
        "intra_op_num_threads": 1,
        "arena": False,
        "parallel": True,
        "mapped": False,
        "entries": entries,
        "tuned": {"cores": 2},
    }
    reseal(
        folder,
        set_field(
            ("graphs", 0, "session"),
            settings | {"disabled_optimizers": ["SkipLayerNormFusion"], "optimized_by": "1.0 other"},
        ),
    )
    assert edgelm.runtime.load(folder)("a good film")["label"]


def plan_of(tokens):
    return {"profiles": [{"axes": {"batch": [1, 1, 1], "sequence": tokens}}]}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("name",), "\ud800", "not a manifest .*surrogates"),
        (("files",), 5, "files: 5 is not a list"),
        (("files", 0, "size"), "1", "size: '1' is not a whole number"),
        (("files", 0, "sha256"), "ab", "sha256"),
        (("files", 0, "path"), "./model.onnx", "outside the bundle: './model.onnx'"),
        (("files", 0, "path"), "runtime//model.py", "outside the bundle: 'runtime//model.py'"),
        (("files", 0, "path"), "a\x1bb", "outside the bundle"),
        (("runtimes",), "cpu", "runtimes: 'cpu' is not a list"),
        (("runtimes",), ["abacus"], "there is no 'abacus'"),
        (("graphs", 0, "inputs", 0, "shape"), "ab", "shape: 'ab' is not a list"),
        (("graphs", 0, "outputs"), [], "outputs"),
        (("task", "kind"), "poetry", "task: kind: 'poetry' is not one of"),
        (("task", "labels"), [1, 2], "labels.0.: 1 is not a text"),
        (("tokenization", "max_length"), 0, "max_length: 0 is not a length"),
        (("tokenization", "max_length"), "32", "max_length: '32' is not a whole number"),
        (("tokenization", "pad_type_id"), -1, "pad_type_id: -1 is not a token type"),
        (("tokenization", "pad_type_id"), 2**31, "is not a token type"),
        (
            ("task",),
            {"kind": "text-classification", "labels": ["a", "b"], "pair": True, "prompt": "x"},
            "not before pairs",
        ),
        (("graphs", 0, "opset"), None, "opset"),
        (("schema",), 0, "schema"),
        (("graphs",), [], "graphs: there is none"),
        (("graphs",), {}, "graphs: .* is not a list"),
        (("graphs", 0, "name"), "", "graphs: each needs a name of its own"),
        (("graphs", 0, "name"), "decoder", "no graph is called model; there are decoder"),
        (("graphs", 0, "name"), "a\x1bb", "name of its own that can be printed"),
        (("graphs", 0, "inputs", 0, "name"), "a\x1bb", r"inputs: 'a.x1bb' is not a name"),
        (("graphs", 0, "file"), "../model.onnx", "file: '../model.onnx' is no .onnx file beside"),
        (("graphs", 0, "file"), "run.py", "file: 'run.py' is no .onnx file beside"),
        (("graphs", 0, "file"), "optimized.onnx", "is no .onnx file beside"),
        (("graphs", 0, "file"), "other.onnx", "does not list other.onnx"),
        (("graphs", 0, "pair_sum"), -1, "pair_sum: -1 is no sum"),
        (("graphs", 0, "inputs"), [], "inputs: there is none"),
        (("graphs", 0, "inputs", 0, "role"), "pixels", "role: 'pixels' is not one of tokens, mask"),
        (("graphs", 0, "inputs", 0, "role"), "logits", "inputs: input_ids: logits is not one of tokens"),
        (("graphs", 0, "inputs", 0, "role"), "mask", "inputs: a role is there twice"),
        (("graphs", 0, "inputs", 0, "role"), "positions", "inputs that text does not give: input_ids"),
        (("graphs", 0, "inputs", 0, "layer"), 0, "layer 0 does not go with tokens"),
        (("graphs", 0, "inputs", 0, "name"), "attention_mask", "inputs: a name is there twice"),
        (("graphs", 0, "outputs", 0, "role"), "embedding", "no output for logits"),
        (("graphs", 0, "plan"), {"profiles": []}, "plan: profiles: there is none"),
        (("graphs", 0, "plan"), {"profiles": [{"axes": {"batch": [1, 1, 1]}}]}, "no sizes of the inputs' sequence"),
        (("graphs", 0, "plan"), plan_of([1, 9, 8]), "sequence: 1, 9, 8 are not sizes in order"),
        (("graphs", 0, "plan"), plan_of([-1, 1, 8]), "sequence: -1, 1, 8 are not sizes in order"),
        (("graphs", 0, "plan"), {"profiles": [{"axes": {"batch": [1]}}]}, "batch: .1. is not a list of 3"),
    ],
)
def test_a_manifest_field_of_a_wrong_kind_is_refused_by_its_place(folder, path, value, words):
    reseal(folder, set_field(path, value))
    with pytest.raises(BundleError, match=words):
        edgelm.runtime.load(folder)


TOKENS = {"kind": "token-classification", "labels": ["O", "B-A"]}
QUESTIONS = {"kind": "question-answering"}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (TOKENS | {"labels": []}, "task: labels: a word needs at least one tag"),
        ({"kind": "token-classification"}, "task: labels: a word needs at least one tag"),
        (TOKENS | {"labels": ["O", "O"]}, "task: labels: .* each stands there once"),
        (TOKENS | {"labels": "OB"}, "task: labels: 'OB' is not a list"),
        (TOKENS | {"labels": [["O"], "B"]}, "labels.0.: ..O.. is not a text"),
        (TOKENS | {"aggregation": "last"}, "aggregation: 'last' is not one of first, max, average, simple"),
        (TOKENS | {"aggregation": ["first"]}, "aggregation: .* is not one of"),
        (QUESTIONS | {"stride": -1}, "task: stride: -1 is not a number of tokens"),
        (QUESTIONS | {"stride": 2**40}, "task: stride: .* is not a number of tokens"),
        (QUESTIONS | {"stride": "8"}, "task: stride: '8' is not a whole number"),
        (QUESTIONS | {"stride": None}, "task: stride: None is not a whole number"),
        (QUESTIONS | {"max_answer_tokens": 0}, "max_answer_tokens: 0 is not a number of tokens of at least one"),
        (QUESTIONS | {"max_answer_tokens": 1.5}, "max_answer_tokens: 1.5 is not a whole number"),
        (QUESTIONS | {"null_answers": "yes"}, "null_answers: 'yes' is not true or false"),
        (QUESTIONS, "has no output for start and none for end"),
        ({"kind": "multiple-choice", "choices": -2}, "task: choices: -2 is not a number of endings"),
        (["token-classification"], "task: .* is not an object"),
        ({"kind": ["token-classification"]}, "task: kind"),
    ],
)
def test_a_task_with_a_field_out_of_its_range_is_refused_by_its_place(folder, task, words):
    reseal(folder, set_field(("task",), task))
    with pytest.raises(BundleError, match=words):
        edgelm.runtime.load(folder)


@pytest.mark.parametrize("task", [TOKENS, {"kind": "multiple-choice"}])
def test_a_graph_of_another_task_is_refused_in_words(folder, task):
    reseal(folder, set_field(("task",), task))
    sample = ("a", ("good", "film")) if task["kind"] == "multiple-choice" else "a good film"
    with pytest.raises(BundleError, match=r"the graph gives float32 of shape .*; the task needs"):
        edgelm.runtime.load(folder)(sample)
    failed = [check for check in verify(folder).checks if not check.ok]
    assert failed


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("graphs", 0, "inputs", 0, "name"), "logits", "has no input called logits"),
        (("graphs", 0, "outputs", 0, "name"), "scores", "has no output called scores"),
        (("graphs", 0, "outputs", 0, "shape", 1), 3, r"logits is said to be float32 .*3.*; the graph has float32 .*2"),
        (("graphs", 0, "outputs", 0, "dtype"), "int64", "logits is said to be int64"),
        (("graphs", 0, "outputs", 0, "shape"), ["batch"], "logits is said to be"),
        (("graphs", 0, "outputs", 0, "shape", 1), 10**12, "is not a shape"),
        (("graphs", 0, "opset"), 10**9, "opset: 1000000000 is not an opset"),
    ],
)
def test_tensors_that_are_not_those_of_the_graph_are_refused(folder, path, value, words):
    reseal(folder, set_field(path, value))
    with pytest.raises(BundleError, match=words):
        edgelm.runtime.load(folder)


def test_a_manifest_too_deep_to_read_or_with_a_file_twice_is_refused(folder):
    with pytest.raises(BundleError, match="not a manifest"):
        Manifest.from_json('{"schema":' + "[" * 100_000 + "]" * 100_000 + "}")
    reseal(folder, lambda values: values["files"].append(values["files"][0]))
    with pytest.raises(BundleError, match="listed twice"):
        edgelm.runtime.load(folder)


@pytest.mark.parametrize("tolerance", ["1" + 400 * "0", "Infinity", "NaN", "-1", "null", '"1"', "true", "1e999"])
def test_a_golden_tolerance_that_every_answer_passes_is_refused(folder, tolerance):
    golden = json.loads((folder / "golden.json").read_text())
    golden["tolerance"] = "here"
    (folder / "golden.json").write_text(json.dumps(golden).replace('"here"', tolerance))
    result = run("verify", reseal(folder))
    assert result.exit_code == 4
    assert "tolerance" in result.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"texts": [], "inputs": [], "outputs": []}, "no samples"),
        ({"texts": [1, 2]}, "neither a text nor a pair"),
        ({"texts": ["a good film"]}, "not equally many"),
        ({"texts": [["a", ["b", 3]], "b"]}, "neither a text nor a pair"),
        ({"texts": [["a", [["b"]]], "b"]}, "neither a text nor a pair"),
        ({"texts": [[], "b"]}, "neither a text nor a pair"),
        ({"texts": [["a", ["b", "c"]], "b"]}, "exported for single texts"),
        ({"texts": [["a", "b"], ["a", "b"]]}, "exported for single texts"),
        ({"inputs": [{"input_ids": [[5, 2], [4]]}] * 2}, "not token ids"),
        ({"inputs": [{"input_ids": [[0.5]]}] * 2}, "not token ids"),
        ({"inputs": [{}, {}]}, "not token ids"),
        ({"outputs": [[["nan"]]] * 2}, "not a row of numbers"),
        ({"outputs": [[[]]] * 2}, "not a row of numbers"),
        ({"outputs": [[[[[0.5]]]]] * 2}, "not a row of numbers"),
        ({"outputs": [[[[0.5]]]] * 2}, r"gives \(1, 2\), expected \(1, 1, 1\)"),
        ({"outputs": [[[0.5]]] * 2}, r"gives \(1, 2\), expected \(1, 1\)"),
        ({"more": 1}, "not golden samples"),
    ],
)
def test_golden_samples_that_prove_nothing_are_refused(folder, change, words):
    golden = json.loads((folder / "golden.json").read_text())
    (folder / "golden.json").write_text(json.dumps(golden | change))
    failed = [check for check in verify(reseal(folder)).checks if not check.ok]
    assert len(failed) == 1
    assert re.search(words, failed[0].detail), failed[0].detail
