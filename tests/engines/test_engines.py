"""Engines and the devices that they belong to: built by the plan, proven by the golden samples, refused where they do
not fit."""

import json
import re
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from bundles import make_bundle, reseal
from fake_gpu import make_cuda, make_tensorrt
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgelm.bundles.keys import make_keys
from edgelm.bundles.sign import sign
from edgelm.cli.main import app
from edgelm.device import load_device
from edgelm.engines import build
from edgelm.engines.plan import make_plan
from edgelm.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INPUT,
    EXIT_USAGE,
    BundleError,
    EngineError,
    MissingExtraError,
    ResourceError,
    UsageError,
)
from edgelm.runtime import cuda as cuda_module
from edgelm.runtime import load, open_bundle
from edgelm.runtime.archive import pack
from edgelm.runtime.engine_plan import EnginePlan, ShapeRange, one_profile
from edgelm.runtime.loading import UnsignedWarning
from edgelm.runtime.provider import FallbackWarning
from edgelm.runtime.verify import verify

PLAN = EnginePlan(
    (
        ShapeRange({"batch": (1, 2, 2), "sequence": (1, 8, 8)}),
        ShapeRange({"batch": (1, 2, 2), "sequence": (1, 16, 32)}),
    ),
    workspace_mb=256,
    compute_capability="8.7",
)
JETSON = {"runtimes": ("tensorrt", "onnxruntime-cuda", "onnxruntime-cpu"), "plan": PLAN, "device": "jetson-orin-nano"}
TEXTS = ["a good film", "bad", "the very very bad film the very very bad film", "film"]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Puts a GPU and TensorRT into this machine; call it again for another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def equip(capability="8.7", version="10.3.0", driver=12060, **how):
        gpu, module = make_cuda(capability, driver), make_tensorrt(version, **how)
        monkeypatch.setattr(cuda_module, "_bindings", lambda: gpu)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        return module

    return equip


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "bundle", **JETSON)


def answers(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no fallback without being asked
        model = load(path, **options)
    return model, [answer["scores"]["positive"] for answer in model(TEXTS)]


def test_a_device_builds_its_engine_proves_it_and_answers_with_it(machine, bundle):
    module = machine()
    plain = answers(bundle, provider="cpu")[1]
    result = build(bundle)
    assert result.built
    assert result.replayed
    assert result.engine.difference < 1e-5
    assert (result.engine.package, result.engine.version, result.engine.compute_capabilities) == (
        "tensorrt",
        "10.3.0",
        ("8.7",),
    )
    config = module.built[0]
    assert config.pools == {"workspace": 256 * 10**6}
    assert config.profiles[1]["input_ids"] == [[1, 1], [2, 16], [2, 32]]
    model, found = answers(bundle)
    assert model.opened.engine == result.engine
    assert model.opened.why == f"tensorrt, by the engine {result.engine.path}"
    assert found == pytest.approx(plain, abs=1e-6)  # four texts in two calls: the engine takes two at a time
    assert verify(bundle).ok
    assert "tensorrt, by the engine" in next(
        check.detail for check in verify(bundle).checks if check.name == "provider"
    )


def test_an_engine_that_fits_is_not_built_again(machine, bundle):
    module = machine()
    build(bundle)
    assert not build(bundle).built
    assert build(bundle, rebuild=True).built
    assert len(module.built) == 2
    assert open_bundle(bundle).manifest.engines[0].seconds == 0  # no clock decides a bundle's bytes
    timings = [config.cache.data for config in module.built]
    assert timings == [b"", b"timings"]  # what the first build timed, the second need not


def test_an_engine_of_a_signed_bundle_is_listed_apart_and_runs_where_a_key_of_the_device_signed_it(
    machine, bundle, tmp_path
):
    pytest.importorskip("cryptography", reason="signatures are checked by the extra `sign`")
    maker, device = (make_keys(tmp_path / name) for name in ("maker", "device"))
    sign(bundle, key=maker.private)
    before = (bundle / "manifest.json").read_bytes()
    machine()
    result = build(bundle)
    assert (bundle / "manifest.json").read_bytes() == before
    assert load(bundle).opened.engine == result.engine
    with pytest.warns(UnsignedWarning, match=result.engine.path):
        assert load(bundle, key=maker.public).opened.engine is None
    sign(bundle, key=device.private, device=True)
    assert load(bundle, key=maker.public, device_key=device.public).opened.engine == result.engine
    assert not build(bundle).built
    (bundle / result.engine.path).write_bytes(b"another")
    with pytest.raises(BundleError, match="engine"):
        load(bundle, key=maker.public, device_key=device.public)


def test_a_bundle_in_one_file_keeps_its_engine_too(machine, bundle, tmp_path):
    machine()
    pack(bundle, tmp_path / "one.edgelm")
    build(tmp_path / "one.edgelm")
    model, _ = answers(tmp_path / "one.edgelm")
    assert model.opened.engine is not None
    assert verify(tmp_path / "one.edgelm").ok


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ({"capability": "8.9"}, "built for compute capability 8.7, and this GPU has 8.9"),
        ({"version": "10.8.0"}, "built by tensorrt 10.3.0, and 10.8.0 is installed"),
        ({"driver": 12020}, "built with a driver for CUDA 12.6, and this one runs 12.2"),
        ({"capability": None}, "no GPU answers"),
        ({"starts": False}, r"tensorrt 10\.3\.0 does not start here: CUDA initialization failure with error: 35"),
        ({"room": False}, "tensorrt cannot run engines/tensorrt-10.3.0-sm87.engine: it gives no reason"),
    ],
    ids=["gpu", "version", "driver", "none", "start", "memory"],
)
def test_an_engine_of_another_device_is_refused_and_onnxruntime_answers(machine, bundle, later, reason):
    machine()
    build(bundle)
    machine(**later)
    with pytest.warns(FallbackWarning, match=reason):
        model = load(bundle)
    assert model.opened.provider == "cpu"
    assert re.search(reason, model.opened.why)
    assert model(TEXTS[0])["label"] in {"negative", "positive"}
    with pytest.raises(UsageError, match=reason):
        load(bundle, provider="tensorrt")


def test_a_portable_engine_runs_with_later_releases_and_gpus(machine, bundle):
    module = machine("8.6")
    build(bundle, plan=replace(PLAN, portable=True))
    assert module.built[0].flags == ["version-compatible"]
    assert module.built[0].hardware_compatibility_level == "ampere-plus"
    machine(version="10.9.1", capability="8.9")
    assert answers(bundle)[0].opened.engine is not None
    for other in ({"version": "11.0.0"}, {"version": "10.2.0"}, {"capability": "7.5"}, {"capability": "8.7"}):
        machine(**{"capability": "8.6"} | other)
        with pytest.warns(FallbackWarning):
            load(bundle)


@pytest.mark.parametrize("capability", ["8.7", "7.5"], ids=["jetson", "turing"])
def test_where_no_engine_runs_on_other_gpus_a_portable_one_is_for_later_releases_alone(machine, bundle, capability):
    module = machine(capability)
    build(bundle, plan=replace(PLAN, portable=True))
    assert module.built[0].flags == ["version-compatible"]
    assert not hasattr(module.built[0], "hardware_compatibility_level")
    machine(capability, version="10.9.1")
    assert answers(bundle)[0].opened.engine is not None
    machine("8.9")
    with pytest.warns(FallbackWarning, match=f"built for compute capability {capability}"):
        load(bundle)


def test_a_stripped_engine_gets_its_weights_from_the_graph(machine, bundle):
    module = machine()
    plain, plain_size = answers(bundle, provider="cpu")[1], build(bundle).size_mb
    result = build(bundle, plan=replace(PLAN, strip=True))
    assert module.built[-1].flags == ["strip"]
    assert result.size_mb < plain_size
    model, found = answers(bundle)
    assert model.opened.engine == result.engine
    assert found == pytest.approx(plain, abs=1e-6)


def test_weights_that_do_not_fit_a_stripped_engine_are_no_crash(machine, bundle, monkeypatch):
    module = machine()
    build(bundle, plan=replace(PLAN, strip=True))
    monkeypatch.setattr(module.OnnxParserRefitter, "refit_from_file", lambda self, path: False)
    with pytest.warns(FallbackWarning, match="the weights do not fit"):
        assert load(bundle).opened.provider == "cpu"


def test_the_network_is_strongly_typed_where_no_flag_says_so(machine, bundle):
    """TensorRT 11 has no other networks, and no flag for it."""
    module = machine(version="11.1.0")
    assert build(bundle).replayed
    assert len(module.built) == 1


def test_an_engine_of_another_graph_is_never_loaded(machine, bundle):
    machine()
    result = build(bundle)
    manifest = open_bundle(bundle).manifest
    graph = replace(manifest.graph(), engines=(replace(result.engine, graph="0" * 64),))
    (bundle / "manifest.json").write_text(manifest.with_graph(graph).to_json())
    with pytest.warns(FallbackWarning, match="built from another graph"):
        assert load(bundle).opened.engine is None
    assert build(bundle).built


def test_a_broken_engine_is_no_crash(machine, bundle):
    machine()
    engine = bundle / build(bundle).engine.path
    engine.write_bytes(b"x" * engine.stat().st_size)
    with pytest.warns(FallbackWarning, match="its content was changed"):
        assert load(bundle).opened.provider == "cpu"
    assert not verify(bundle, replay=False).ok
    reseal(bundle)
    with pytest.warns(FallbackWarning, match="cannot load"):
        assert load(bundle).opened.provider == "cpu"


def test_an_engine_with_wrong_answers_is_not_kept(machine, bundle):
    machine(wrong=0.5)
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    with pytest.raises(EngineError, match=r"differ from the golden ones by 0\.5"):
        build(bundle)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


def test_what_cannot_be_built_is_said(machine, bundle, monkeypatch, tmp_path):
    machine(capability=None)
    with pytest.raises(UsageError, match="on the GPU that runs them"):
        build(bundle, package="tensorrt")
    with pytest.raises(UsageError, match="no engine plan"):
        build(make_bundle(tmp_path / "cpu"))
    machine("8.7")
    with pytest.raises(UsageError, match=r"the one here has compute capability 8\.7"):
        build(bundle, package="tensorrt", capability="8.9")
    machine(starts=False)
    with pytest.raises(ResourceError, match="does not start here: CUDA initialization failure"):
        build(bundle, package="tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match="tensorrt is missing"):
        build(bundle, package="tensorrt")
    machine(version="8.5.2")
    shown = CliRunner().invoke(app, ["build", str(bundle), "--package", "tensorrt"])
    assert shown.exit_code == EXIT_FAILED
    assert "too old" in shown.output
    assert CliRunner().invoke(app, ["build", str(bundle), "--package", "other"]).exit_code == EXIT_USAGE
    assert CliRunner().invoke(app, ["build", str(tmp_path / "nothing")]).exit_code == EXIT_INPUT


def test_the_command_builds_with_what_it_is_told(machine, bundle):
    module = machine()
    words = ["build", str(bundle), "--workspace", "64", "--refit", "--json"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == EXIT_DONE, shown.output
    values = json.loads(shown.stdout)
    assert values["built"]
    assert values["engine"]["plan"]["workspace_mb"] == 64
    assert module.built[0].flags == ["refit"]
    assert open_bundle(bundle).manifest.plan == replace(PLAN, workspace_mb=64, refit=True)
    people = CliRunner().invoke(app, ["build", str(bundle)])
    assert "was there already, and fits" in people.output
    ran = CliRunner().invoke(app, ["run", str(bundle), "a good film", "--provider", "cpu"])
    assert ran.exit_code == EXIT_DONE, ran.output
    seen = " ".join(CliRunner().invoke(app, ["inspect", str(bundle), "--no-run"]).output.split())
    assert (
        "engines/tensorrt-10.3.0-sm87.engine tensorrt 10.3.0, compute capability 8.7, driver for CUDA 12.6; golden "
        "samples within" in seen
    )
    assert "1x1 to 2x8, fastest at 2x8; 1x1 to 2x32, fastest at 2x16" in seen
    refused = CliRunner().invoke(app, ["run", str(bundle), "a good film", "--provider", "qnn"])
    assert refused.exit_code == EXIT_USAGE
    assert "has no QNNExecutionProvider" in refused.output


@pytest.mark.parametrize(("more", "said"), [((), 1), (("--quiet",), 0)], ids=["plain", "quiet"])
def test_a_fallback_is_one_plain_line(machine, bundle, more, said):
    machine()
    build(bundle)
    machine("8.9")
    shown = CliRunner().invoke(app, ["run", str(bundle), "a good film", *more])
    assert shown.exit_code == EXIT_DONE, shown.output
    warned = [line for line in shown.stderr.splitlines() if "its engine is not used" in line]
    assert len(warned) == said
    assert all(line.startswith(f"Warning: {bundle}: ") for line in warned)
    assert ".py:" not in shown.stderr


@settings(deadline=None)  # it reads a device file each time, and other work may keep the machine busy
@given(lengths=st.lists(st.integers(1, 600), max_size=50), max_length=st.integers(8, 512), batch=st.integers(1, 64))
def test_every_text_has_a_profile(lengths, max_length, batch):
    """Whatever the texts: the profiles hold each length up to the longest, at every batch, and are tuned for a shape
    that they hold."""
    plan = make_plan(load_device("jetson-orin-nano"), lengths, max_length=max_length, batch=batch)
    for made in (plan, one_profile(plan)):
        assert all(
            any(profile.holds({"batch": rows, "sequence": tokens}) for profile in made.profiles)
            for tokens in (1, max_length)
            for rows in (1, batch)
        )
        sizes = [profile.axes.values() for profile in made.profiles]
        assert all(least <= usual <= most for axes in sizes for least, usual, most in axes)
        assert not any(profile.holds({"batch": 1, "sequence": max_length + 1}) for profile in made.profiles)


def test_profiles_follow_the_lengths_of_the_texts():
    lengths = [10] * 60 + [20] * 35 + [100] * 5
    plan = make_plan(load_device("rtx-4090"), lengths, max_length=128)
    assert [profile.axes["sequence"] for profile in plan.profiles] == [(1, 16, 24), (1, 104, 128)]
    assert [profile.axes["batch"] for profile in plan.profiles] == [(1, 1, 1)] * 2
    assert plan.compute_capability == "8.9"
    assert make_plan(load_device("jetson-orin-nano"), lengths, max_length=128).workspace_mb == 2000  # a quarter of 8 GB
    assert len(make_plan(load_device("rtx-4090"), [128] * 9, max_length=128).profiles) == 1


def test_outputs_are_those_of_the_graph(machine, bundle):
    machine()
    build(bundle)
    engine, plain = load(bundle), load(bundle, provider="cpu")
    feeds = plain.tokenize(TEXTS)
    assert np.abs(engine.infer(feeds) - plain.infer(feeds)).max() < 1e-6
