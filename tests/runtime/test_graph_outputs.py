"""A graph whose output is none of its task's is refused in words, by every command, never read as something else."""

import json

import numpy as np
import onnx
import pytest
from bundles import make_bundle, reseal
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.cli.main import app
from edgelm.errors import BundleError


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_row_for_all(graph):
    add(graph, helper.make_node("ReduceMean", ["before", "zero"], ["logits"], keepdims=1))


def no_rows(graph):
    add(graph, helper.make_node("ReduceMean", ["before", "zero"], ["logits"], keepdims=0))


def texts(graph):
    add(graph, helper.make_node("Cast", ["before"], ["logits"], to=TensorProto.STRING), TensorProto.STRING)


def booleans(graph):
    add(graph, helper.make_node("Cast", ["before"], ["logits"], to=TensorProto.BOOL), TensorProto.BOOL)


def a_list(graph):
    add(graph, helper.make_node("SequenceConstruct", ["before"], ["logits"]))
    graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("logits", TensorProto.FLOAT, None))


def add(graph, node, kind=TensorProto.FLOAT):
    graph.node[-1].output[0] = "before"
    graph.node.append(node)
    graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
    graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", kind, None))


@pytest.mark.parametrize("change", [one_row_for_all, no_rows, texts, booleans, a_list])
def test_another_output_than_the_tasks_is_refused(tmp_path, change):
    folder = make_bundle(tmp_path / "b")
    model = onnx.load(folder / "model.onnx")
    change(model.graph)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    reseal(folder)
    # What the graph itself says is seen when it is loaded; else its answers show it.
    with pytest.raises(
        BundleError, match=r"the graph gives .*; the task needs \(2, 2\)|logits is said to be .*; the graph"
    ):
        edgelm.runtime.load(folder)(["a good film", "bad"])
    assert run("verify", folder).exit_code == 4 or change is one_row_for_all  # golden samples run one by one


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "b", "c"]])
def test_labels_that_are_not_as_many_as_the_logits_are_refused(tmp_path, labels):
    folder = reseal(make_bundle(tmp_path / "b"), lambda values: values["task"].update(labels=labels))
    for command in (["run", folder, "a good film"], ["verify", folder]):
        result = run(*command)
        assert result.exit_code == 4, result.output
        assert "the task needs (1, " in result.output


def test_a_type_that_onnx_does_not_have_is_refused_by_inspect(tmp_path):
    folder = make_bundle(tmp_path / "b")
    model = onnx.load(folder / "model.onnx")
    model.graph.initializer[0].data_type = 0
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    result = run("inspect", reseal(folder))
    assert result.exit_code == 4
    assert "not an ONNX file, or a damaged one" in result.output


def test_a_link_that_leads_to_itself_is_refused(tmp_path):
    folder = make_bundle(tmp_path / "b")
    (folder / "golden.json").unlink()
    (folder / "golden.json").symlink_to("golden.json")
    result = run("verify", folder)
    assert result.exit_code == 4
    assert "leads out of the bundle" in result.output


def test_a_tokenizer_without_its_token_for_unknown_words_is_refused_in_words(tmp_path):
    folder = make_bundle(tmp_path / "b")
    values = json.loads((folder / "tokenizer.json").read_text())
    del values["model"]["vocab"]["[UNK]"]
    (folder / "tokenizer.json").write_text(json.dumps(values))
    reseal(folder)
    assert run("run", folder, "a good film").exit_code == 0
    result = run("run", folder, "a strange film")
    assert result.exit_code == 4
    assert "tokenizer.json cannot cut this text" in result.output


def test_a_tokenizer_that_panics_is_refused_in_words(tmp_path):
    folder = make_bundle(tmp_path / "b")
    values = json.loads((folder / "tokenizer.json").read_text())
    unknown = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}]
    values["post_processor"] = {"type": "TemplateProcessing", "single": unknown, "pair": [], "special_tokens": {}}
    (folder / "tokenizer.json").write_text(json.dumps(values))
    for command in (["run", reseal(folder), "a good film"], ["verify", folder]):
        result = run(*command)
        assert result.exit_code == 4, result.output
        assert "tokenizer.json cannot cut this text" in result.output


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    folder = make_bundle(tmp_path / "b")
    reseal(folder, lambda values: values["files"].append({"path": "x" * 5000, "size": 1, "sha256": "0" * 64}))
    result = run("verify", folder)
    assert result.exit_code == 4
    assert "cannot be looked up" in result.output
