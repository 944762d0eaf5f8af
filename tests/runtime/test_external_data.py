"""A graph takes weights from the bundle's own file alone, wherever in it they are named."""

import numpy as np
import onnx
import pytest
from bundles import make_bundle, move_weights_out, reseal, set_field
from onnx import TensorProto, helper

import edgelm.runtime
from edgelm.errors import BundleError
from edgelm.runtime.archive import pack
from edgelm.runtime.session import optimizer
from edgelm.runtime.verify import verify


@pytest.fixture
def folder(tmp_path):
    return make_bundle(tmp_path / "b")


@pytest.fixture
def with_weights(folder):
    """A bundle whose weights lie beside the graph."""
    return move_weights_out(folder)


def outside(location, name="table"):
    """A tensor whose values lie in a file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[8, 4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def in_initializer(graph, location):
    kept = [tensor for tensor in graph.graph.initializer if tensor.name != "table"]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend([*kept, outside(location)])


def in_constant(graph, location):
    graph.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside(location, "c")))


def in_branch(graph, location):
    inner = helper.make_graph(
        [], "inner", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [8, 4])], [outside(location, "w")]
    )
    branch = helper.make_graph(
        [helper.make_node("If", ["x"], ["w"], then_branch=inner, else_branch=inner)], "outer", [], []
    )
    graph.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))


def in_sparse(graph, location):
    sparse = onnx.SparseTensorProto(values=outside(location, "s"), indices=outside(location, "i"), dims=[8])
    graph.graph.sparse_initializer.append(sparse)


def in_sparse_constant(graph, location):
    sparse = onnx.SparseTensorProto(values=outside(location, "s"), dims=[8])
    graph.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse))


def in_list_of_tensors(graph, location):
    graph.graph.node.append(helper.make_node("Strange", [], ["c"], domain="x", values=[outside(location)]))


def in_function(graph, location):
    node = helper.make_node("Constant", [], ["c"], value=outside(location, "c"))
    graph.functions.append(helper.make_function("x", "f", [], ["c"], [node], [helper.make_opsetid("", 18)]))


def in_training(graph, location):
    graph.training_info.add().initialization.initializer.append(outside(location))


PLACES = [
    in_initializer,
    in_constant,
    in_branch,
    in_sparse,
    in_sparse_constant,
    in_list_of_tensors,
    in_function,
    in_training,
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("single", [False, True], ids=["folder", "file"])
def test_a_graph_that_takes_weights_from_elsewhere_is_refused_wherever_it_says_so(
    folder, tmp_path, monkeypatch, place, single
):
    monkeypatch.chdir(tmp_path)
    for there in (tmp_path, folder):
        (there / "secret.bin").write_bytes(np.ones((8, 4), np.float32).tobytes())
    graph = onnx.load(folder / "model.onnx")
    place(graph, "secret.bin")
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    path = reseal(folder)
    if single:
        pack(folder, tmp_path / "b.edgelm")
        path = tmp_path / "b.edgelm"
    for check_hashes in (True, False):
        with pytest.raises(BundleError, match=r"takes weights from 'secret\.bin'"):
            edgelm.runtime.load(path, check_hashes=check_hashes)
    assert not verify(path).ok


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../b/weights.bin", "./weights.bin", "sub/weights.bin", "weights.bin", "*/_ORT_MEM_ADDR_/*", ""],
)
def test_every_name_but_that_of_listed_weights_is_refused(folder, location):
    graph = onnx.load(folder / "model.onnx")
    in_initializer(graph, location)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(BundleError, match="takes weights from"):
        edgelm.runtime.load(reseal(folder))


def test_an_optimized_graph_is_looked_through_too(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b" / "secret.bin").write_bytes(np.ones((8, 4), np.float32).tobytes())
    graph = onnx.load(folder / "model.onnx")
    in_initializer(graph, "secret.bin")
    (folder / "optimized.onnx").write_bytes(graph.SerializeToString())
    reseal(folder, set_field(("graphs", 0, "session"), {"optimized_by": optimizer()}))
    with pytest.raises(BundleError, match=r"optimized\.onnx takes weights from 'secret\.bin'"):
        edgelm.runtime.load(folder)


def test_a_compiled_graph_or_another_format_is_refused(folder):
    graph = onnx.load(folder / "model.onnx")
    graph.graph.node.append(
        helper.make_node("EPContext", [], ["c"], domain="com.microsoft", ep_cache_context="../x", embed_mode=0)
    )
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(BundleError, match="EPContext"):
        edgelm.runtime.load(reseal(folder))
    for content in (b"\x18\0\0\0ORTM" + b"\0" * 64, b"\x0b\x0c", b"\xff" * 30, b""):
        (folder / "model.onnx").write_bytes(content)
        with pytest.raises(BundleError):
            edgelm.runtime.load(reseal(folder))


def test_weights_beyond_the_end_of_their_file_are_refused(with_weights):
    (with_weights / "weights.bin").write_bytes((with_weights / "weights.bin").read_bytes()[:100])
    reseal(with_weights)
    for mapped in (True, False):
        reseal(with_weights, set_field(("graphs", 0, "session"), {"mapped": mapped}))
        with pytest.raises(BundleError, match=r"cannot load model\.onnx"):
            edgelm.runtime.load(with_weights)
