"""Bundles with engines on hosts: what ran there and why is told at home, where no GPU need be."""

from __future__ import annotations

import json
import sys
import warnings

import pytest
from bundles import make_bundle
from fake_gpu import equip, make_cuda, make_tensorrt

pytest.importorskip("asyncssh", reason="the extra `remote` is not installed")

from ssh_servers import FAST, left, run

from edgelm.device import load_device
from edgelm.engines import build
from edgelm.profile.remote.agent_client import AgentClient
from edgelm.profile.result import Profile
from edgelm.runtime import cuda
from edgelm.runtime.engine_plan import EnginePlan, ShapeRange
from edgelm.runtime.provider import FallbackWarning


def plan_for(device: str) -> dict:
    """What export writes for a device with TensorRT."""
    plan = EnginePlan(
        (ShapeRange({"batch": (1, 2, 2), "sequence": (1, 8, 32)}),),
        workspace_mb=256,
        compute_capability=load_device(device).compute_capability,
    )
    return {"runtimes": load_device(device).runtimes, "plan": plan, "device": device}


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A bundle with an engine that was built on a Jetson Orin."""
    bundle = make_bundle(tmp_path / "built.edge", **plan_for("jetson-orin-nano"))
    with monkeypatch.context() as there:
        there.setattr(cuda, "_bindings", lambda: make_cuda("8.7"))
        there.setitem(sys.modules, "tensorrt", make_tensorrt())
        build(bundle)
    return bundle


def profile_on(bundle, tmp_path):
    """The profile of a host, and what people see, of which a page; nothing is said of the GPU that is not here."""
    page, file = tmp_path / "page.html", tmp_path / "profile.json"
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        shown = run(bundle, "--host", "device", *FAST, "--html", page, "--output", file)
    assert shown.exit_code == 0, shown.output
    (found,) = json.loads(file.read_text())["profiles"]
    assert Profile.from_dict(found).to_dict() == found
    return found, (" ".join(shown.stdout.split()), " ".join(page.read_text().split()))


def test_a_host_runs_its_engine_and_says_so(built, serve, tmp_path):
    server = serve(PYTHONPATH=equip(tmp_path / "gpu"))
    found, pages = profile_on(built, tmp_path)
    assert found["provider"] == "tensorrt"
    assert found["engine"].startswith("engines/")
    assert found["passed"] == []
    assert all(f"tiny on device ran on tensorrt, by the engine {found['engine']}." in page for page in pages)
    assert left(server) == []
    assert not (tmp_path / ".cache").exists()


def test_an_engine_of_another_gpu_is_not_used_and_the_reason_comes_home(built, serve, tmp_path):
    serve(PYTHONPATH=equip(tmp_path / "gpu", "8.9"))
    found, pages = profile_on(built, tmp_path)
    reason = "no engine fits: it was built for compute capability 8.7, and this GPU has 8.9"
    assert (found["provider"], found["engine"]) == ("cpu", None)
    assert {"name": "tensorrt", "reason": reason} in found["passed"]
    assert all(f"tiny on device ran on cpu, by onnxruntime (not tensorrt: {reason};" in page for page in pages)


@pytest.mark.parametrize("provider", ["tensorrt", "cuda"])
def test_a_forced_provider_that_a_host_lacks_is_told_before_anything_is_copied(built, serve, monkeypatch, provider):
    server = serve()
    monkeypatch.setattr(AgentClient, "copy", lambda *_: pytest.fail("something was copied"))
    result = run(built, "--host", "device", *FAST, "--provider", provider)
    assert result.exit_code == 2
    assert f"Error: device: {built} cannot run with {provider} there: its onnxruntime has no " in result.stderr
    assert "It has CPUExecutionProvider" in result.stderr.replace("AzureExecutionProvider, ", "")
    assert left(server) == []


def test_a_forced_provider_may_be_an_engine(built, serve, tmp_path):
    """The host's onnxruntime knows no TensorRT, but its TensorRT runs the bundle's engine."""
    serve(PYTHONPATH=equip(tmp_path / "gpu"))
    result = run(built, "--host", "device", *FAST, "--provider", "tensorrt")
    assert result.exit_code == 0, result.output
    assert "ran on tensorrt, by the engine" in result.stdout


def test_an_engine_that_does_not_fit_a_forced_provider_is_told_with_the_host(built, serve, tmp_path):
    server = serve(PYTHONPATH=equip(tmp_path / "gpu", "8.9"))
    result = run(built, "--host", "device", *FAST, "--provider", "tensorrt")
    assert result.exit_code == 2
    assert f"Error: device: {built} cannot run with tensorrt" in result.stderr
    assert "this GPU has 8.9" in result.stderr
    assert left(server) == []


def test_a_plan_alone_runs_with_onnxruntime_where_there_is_no_gpu(serve, tmp_path):
    bundle = make_bundle(tmp_path / "planned.edge", **plan_for("rtx-4090"))
    serve()
    found, pages = profile_on(bundle, tmp_path)
    assert found["provider"] == "cpu"
    assert {"name": "tensorrt-rtx", "reason": "the bundle has no engine of it (`edgelm build` makes one)"} in found[
        "passed"
    ]
    assert {"name": "cuda", "reason": "this onnxruntime has no CUDAExecutionProvider"} in found["passed"]
    assert all("ran on cpu, by onnxruntime (not tensorrt-rtx: the bundle has no engine of it" in page for page in pages)
