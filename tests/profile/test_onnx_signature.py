"""What an ONNX file asks for: the same that the package onnx says."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from bundles import make_bundle
from onnx import TensorProto, helper, numpy_helper

from edgelm.errors import InputError
from edgelm.profile.onnx_signature import read_inputs


def save(path, inputs, **options):
    out = helper.make_tensor_value_info("out", TensorProto.INT64, None)
    graph = helper.make_graph([helper.make_node("Identity", [inputs[0].name], ["out"])], "g", inputs, [out], **options)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_names_types_and_axes(tmp_path):
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", 128]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT32, [1, None]),
        helper.make_tensor_value_info("anything", TensorProto.FLOAT, None),
    ]
    found = read_inputs(save(tmp_path / "m.onnx", inputs))
    assert [(spec.name, spec.dtype, spec.shape) for spec in found] == [
        ("input_ids", "int64", ("batch", 128)),
        ("attention_mask", "int32", (1, "")),
        ("anything", "float32", ()),
    ]


def test_constants_that_older_files_list_are_no_inputs(tmp_path):
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in ("input_ids", "table")]
    path = save(tmp_path / "m.onnx", inputs, initializer=[numpy_helper.from_array(np.arange(300_000), "table")])
    assert [spec.name for spec in read_inputs(path)] == ["input_ids"]


def test_an_exported_graph(tmp_path):
    path = make_bundle(tmp_path / "b") / "model.onnx"
    assert [spec.name for spec in read_inputs(path)] == [value.name for value in onnx.load(path).graph.input]


def test_other_files_are_refused(tmp_path):
    whole = (make_bundle(tmp_path / "b") / "model.onnx").read_bytes()
    for content in (b"", b"PK\3\4 something else", whole[:-20]):
        (tmp_path / "other.onnx").write_bytes(content)
        with pytest.raises(InputError, match="not an ONNX file"):
            read_inputs(tmp_path / "other.onnx")
