"""Weights beside the graph: the same answers, from a folder and from one file, and beyond what one message can hold."""

import numpy as np
import onnx
import pytest
from graphs import make_feeds, make_graph

from edgelm.graph import external_data as files
from edgelm.graph.external_data import save_graph, save_graphs, stored_bytes
from edgelm.graph.session import make_file_session, make_plain_session


def test_a_graph_with_its_weights_beside_it_is_the_same(tmp_path):
    graph = make_graph()
    save_graph(graph, tmp_path / "model.onnx", "weights.bin")
    assert (tmp_path / "model.onnx").stat().st_size < 5_000
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=False)
    again = onnx.load(tmp_path / "model.onnx")
    for before, after in zip(graph.graph.initializer, again.graph.initializer, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(before), onnx.numpy_helper.to_array(after))
    assert all(
        int(entry.value) % 64 == 0
        for tensor in onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "offset"
    )


def test_what_two_graphs_share_is_stored_once(tmp_path):
    graph = make_graph()
    save_graph(graph, tmp_path / "model.onnx", "weights.bin")
    alone = (tmp_path / "weights.bin").stat().st_size
    save_graphs({"first.onnx": graph, "second.onnx": graph}, tmp_path, "weights.bin")
    assert (tmp_path / "weights.bin").stat().st_size == alone
    feed, wanted = make_feeds(1)[0], make_plain_session(graph).run(None, make_feeds(1)[0])[0]
    for name in ("first.onnx", "second.onnx"):
        np.testing.assert_array_equal(make_plain_session(onnx.load(tmp_path / name)).run(None, feed)[0], wanted)


def test_graphs_too_large_for_one_message_run(monkeypatch):
    graph, feed = make_graph(), make_feeds(1)[0]
    wanted = make_plain_session(graph).run(None, feed)[0]
    monkeypatch.setattr(files, "LARGEST_MESSAGE", 1000)  # as if the graph had 2 GB
    np.testing.assert_array_equal(make_plain_session(graph).run(None, feed)[0], wanted)


@pytest.mark.slow
def test_three_gigabytes_are_saved_and_loaded(tmp_path):
    """Real size: what protobuf would refuse to write."""
    graph = make_graph()
    for name in ("first", "second", "third"):
        tensor = graph.graph.initializer.add(name=name, data_type=onnx.TensorProto.FLOAT, dims=(1 << 28,))
        tensor.raw_data = np.full(1 << 28, len(name), dtype=np.float32).tobytes()
        graph.graph.node.append(onnx.helper.make_node("Gather", [name, "axis"], [f"{name}.row"]))
        graph.graph.output.append(onnx.helper.make_tensor_value_info(f"{name}.row", onnx.TensorProto.FLOAT, [1]))
    save_graph(graph, tmp_path / "model.onnx", "weights.bin")
    assert (tmp_path / "weights.bin").stat().st_size > 3 << 30
    rows = make_plain_session(graph).run(["first.row", "second.row", "third.row"], make_feeds(1)[0])
    assert [row.item() for row in rows] == [5, 6, 5]


def test_a_graph_is_run_from_its_file(tmp_path):
    graph, feed = make_graph(), make_feeds(1)[0]
    wanted = make_plain_session(graph).run(None, feed)[0]
    save_graph(graph, tmp_path / "model.onnx", "weights.bin")
    for prepack in (True, False):
        session = make_file_session(tmp_path / "model.onnx", prepack=prepack)
        # Sums of another order where matrices keep their layout.
        np.testing.assert_allclose(session.run(None, feed)[0], wanted, rtol=1e-5, atol=1e-6)
    assert stored_bytes(onnx.load(tmp_path / "model.onnx", load_external_data=False)) == stored_bytes(graph)
