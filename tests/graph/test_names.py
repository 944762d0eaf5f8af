"""Whoever opens a bundle's graph in a viewer reads where in the PyTorch model each node, value and weight belongs."""

import json
from collections import Counter

import onnx
import pytest
from models import TEXTS, make_checkpoint, make_wide

from edgelm.anatomy import load_checkpoint
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.version import __version__

ROWS = Dataset("memory", texts=TEXTS * 4)


def exported(folder, checkpoint, precision="fp32", device="cpu"):
    export(checkpoint, output=folder, device=load_device(device), precision=precision, calibration=ROWS)
    return onnx.load(folder / "model.onnx", load_external_data=False)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return make_wide(tmp_path_factory.mktemp("wide"), cut=True)


@pytest.fixture(scope="module")
def modules(wide):
    return {name for name, _ in load_checkpoint(wide).named_modules()}


CASES = [("fp32", "cpu"), ("int8", "cpu"), ("fp16", "cpu"), ("int4", "cpu"), ("int8", "jetson-orin-nano")]


@pytest.mark.parametrize(("precision", "device"), CASES)
def test_names_say_module_and_operator_and_are_unique(wide, modules, tmp_path, precision, device):
    graph = exported(tmp_path / "b", wide, precision, device).graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    for node in graph.node:
        module, _, operator = node.name.rpartition("/")
        assert operator == node.op_type or operator.startswith(f"{node.op_type}_"), node.name
        # query, key and value are one product where onnxruntime reads them so; the pooling is no module of the encoder
        known = module.removesuffix(".qkv").removesuffix(".weight")
        assert known in modules | {"pooling"}, node.name
    values = Counter(name for node in graph.node for name in node.output if name)
    values.update(tensor.name for tensor in graph.initializer)
    values.update(value.name for value in graph.input)
    assert set(values.values()) == {1}
    assert not [name for name in values if name.startswith(("val_", "node_"))]
    products = {node.name for node in graph.node if "intermediate.dense/MatMul" in node.name}
    assert len(products) == 2  # one in each layer


def test_weights_have_the_names_of_pytorch(wide, tmp_path):
    state = load_checkpoint(wide).state_dict()
    graph = exported(tmp_path / "b", wide).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.0.intermediate.dense.bias"):
        assert shapes[name] == list(state[name].shape)
    for layer in range(2):
        for part in ("attention.output.dense", "intermediate.dense", "output.dense"):
            name = f"encoder.layer.{layer}.{part}.weight"
            assert shapes[f"{name}.T"] == list(state[name].shape)[::-1]


def test_the_same_checkpoint_gives_the_same_names(wide, tmp_path):
    first, second = (exported(tmp_path / name, wide, "int8").graph for name in ("a", "b"))
    assert [node.name for node in first.node] == [node.name for node in second.node]
    assert [tensor.name for tensor in first.initializer] == [tensor.name for tensor in second.initializer]


def test_the_graph_says_what_it_is_for(tmp_path):
    model = make_checkpoint(tmp_path / "m", "distilbert", labels=("gut", "größer", "a, b"))
    graph = exported(tmp_path / "b", model)
    said = {entry.key: entry.value for entry in graph.metadata_props}
    assert said["edgelm.task"] == "text-classification"
    assert json.loads(said["edgelm.labels"]) == ["gut", "größer", "a, b"]
    assert (said["edgelm.max_length"], said["edgelm.precision"]) == ("128", "fp32")
    assert said["edgelm.version"] == __version__
