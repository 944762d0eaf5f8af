"""Execution providers that are plugins: taken where they load and find a device, passed over with the reason
elsewhere."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import onnxruntime
import pytest
from bundles import make_bundle

import edgelm.runtime
from edgelm.errors import UsageError
from edgelm.runtime import open_bundle, plugin, provider
from edgelm.runtime.engine_plan import EnginePlan, ShapeRange


@pytest.fixture
def install(monkeypatch):
    """Put a plugin for OpenVINO into this machine; what it registers is onnxruntime's CPU provider, whose devices and
    sessions are real."""

    def put(name="CPUExecutionProvider", error=None):
        module = ModuleType("onnxruntime_ep_openvino")
        module.__spec__ = ModuleSpec(module.__name__, None)
        module.get_ep_name, module.get_library_path = lambda: name, lambda: "/packages/libplugin.so"
        registered = []

        def register(provider, path):
            registered.append((provider, path))
            if error is not None:
                raise error

        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(onnxruntime, "register_execution_provider_library", register)
        plugin._register.cache_clear()
        return registered

    yield put
    plugin._register.cache_clear()


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "b", runtimes=("onnxruntime-openvino", "onnxruntime-cpu"))


def test_a_plugin_answers_and_is_registered_once(install, bundle):
    registered = install()
    first, again = edgelm.runtime.load(bundle), edgelm.runtime.load(bundle, provider="openvino")
    assert first.opened.why == again.opened.why == "openvino, by onnxruntime"
    assert registered == [("CPUExecutionProvider", "/packages/libplugin.so")]
    assert first("a good film") == edgelm.runtime.load(bundle, provider="cpu")("a good film")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (
            {"error": RuntimeError("libcuda.so.1: cannot open shared object file")},
            "cannot be loaded: libcuda.so.1: cannot open shared object file",
        ),
        ({"name": "OpenVINOExecutionProvider"}, "finds no device that it runs on"),
    ],
    ids=["library", "device"],
)
def test_a_plugin_that_cannot_run_here_is_passed_over_with_the_reason(install, bundle, how, reason):
    install(**how)
    model = edgelm.runtime.load(bundle)
    assert model.opened.why == f"cpu, by onnxruntime (not openvino: onnxruntime_ep_openvino {reason})"
    with pytest.raises(UsageError, match=reason):
        edgelm.runtime.load(bundle, provider="openvino")


def test_onnxruntimes_tensorrt_builds_for_the_plans_lengths(tmp_path):
    """Several profiles for the full TensorRT; TensorRT-RTX takes one, for all of them."""
    plan = EnginePlan(
        (
            ShapeRange({"batch": (1, 2, 2), "sequence": (1, 8, 16)}),
            ShapeRange({"batch": (1, 2, 2), "sequence": (1, 24, 32)}),
        ),
        workspace_mb=256,
    )
    bundle = open_bundle(make_bundle(tmp_path / "b", plan=plan))
    several, one = (provider._provider_options(name, bundle) for name in ("tensorrt", "tensorrt-rtx"))
    assert several["trt_profile_max_shapes"] == "input_ids:2x16,attention_mask:2x16,input_ids:2x32,attention_mask:2x32"
    shapes = [one[f"nv_profile_{which}_shapes"] for which in ("min", "opt", "max")]
    assert shapes == [f"input_ids:{shape},attention_mask:{shape}" for shape in ("1x1", "2x8", "2x32")]
    assert several["trt_max_workspace_size"] == one["nv_max_workspace_size"] == "256000000"
    assert provider._provider_options("cuda", bundle) == {"use_tf32": "0"}  # FP32 is FP32


def test_without_a_plugin_the_provider_is_missing(bundle):
    with pytest.raises(UsageError, match="this onnxruntime has no OpenVINOExecutionProvider"):
        edgelm.runtime.load(bundle, provider="openvino")
