"""Engines of models that write: plans within the device's memory, and decoding with keys and values on a GPU, which a
stand-in plays."""

from __future__ import annotations

import functools
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu import make_cuda, make_tensorrt
from generator_bundles import exported
from generators import SENTENCES
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.data.dataset import Dataset
from edgelm.device import Device, load_device
from edgelm.engines import build
from edgelm.engines.generation_plan import PIECE, TextSizes, plan_decoder
from edgelm.errors import EXIT_DONE, EXIT_USAGE, EngineError, UsageError
from edgelm.runtime import cuda as cuda_module
from edgelm.runtime import load, open_bundle
from edgelm.runtime.engine_plan import one_profile
from edgelm.runtime.graph_spec import GraphSpec, TensorSpec
from edgelm.runtime.provider import FallbackWarning
from edgelm.runtime.verify import verify

TEXTS = Dataset("memory", texts=SENTENCES)
PROMPTS = ["turn the lights", "what a wonderful and moving film", "is it"]


made = functools.partial(exported, device="jetson-orin-nano")


@pytest.fixture
def bundle(tmp_path: Path) -> Any:
    """A copy that a test may change, by the family."""
    import shutil

    def copy(family: str, precision: str = "fp32") -> Path:
        return Path(shutil.copytree(made(family, precision=precision), tmp_path / f"{family}.edge"))

    return copy


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Puts a GPU and TensorRT into this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def equip(**how: Any) -> Any:
        gpu, module = make_cuda("8.7", 12060), make_tensorrt("10.3.0", **how)
        monkeypatch.setattr(cuda_module, "_bindings", lambda: gpu)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        return module

    return equip


@pytest.mark.parametrize(("family", "precision"), [("gpt2", "fp32"), ("llama", "fp16"), ("t5", "fp32")])
def test_a_device_writes_with_its_engines_what_onnxruntime_writes(
    machine: Any, bundle: Any, family: str, precision: str
) -> None:
    module = machine()
    path = bundle(family, precision)
    plain = load(path, provider="cpu")

    result = build(path)

    names = ["encoder", "decoder"] if family == "t5" else ["decoder"]
    assert [engine.path for engine in result.engines] == [
        f"engines/tensorrt-10.3.0-sm87-{name}.engine" for name in names
    ]
    assert result.replayed
    assert len(module.built) == len(names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no fallback without being asked
        model = load(path)
    assert model.opened.provider == "tensorrt"
    for settings in ({}, {"stop": ["film"]}, {"draft": "lookup"} if family != "t5" else {}):
        wanted = [plain(prompt, max_new_tokens=30, **settings) for prompt in PROMPTS]
        assert [model(prompt, max_new_tokens=30, **settings) for prompt in PROMPTS] == wanted
    assert model(PROMPTS, max_new_tokens=8) == [plain(prompt, max_new_tokens=8) for prompt in PROMPTS]
    assert verify(path).ok


def test_a_conversation_goes_on_from_what_was_read(machine: Any, bundle: Any) -> None:
    machine()
    path = bundle("llama", "fp16")
    build(path)
    model, plain = load(path), load(path, provider="cpu")
    text = PROMPTS[0]
    for _ in range(3):
        text += model(text, max_new_tokens=6)["text"] + " and"
        assert model(text, max_new_tokens=6) == plain(text, max_new_tokens=6)


def test_more_beams_than_the_engine_takes_are_refused(machine: Any, bundle: Any) -> None:
    machine()
    path = bundle("gpt2")
    build(path)
    with pytest.raises(UsageError, match="the engine writes 1 rows at once, and 3 are asked for"):
        load(path)("turn", num_beams=3)
    assert load(path, provider="cpu")("turn", num_beams=3, max_new_tokens=4)["tokens"]


def test_engines_that_write_other_tokens_are_not_kept(machine: Any, bundle: Any) -> None:
    machine(wrong=0.5)
    path = bundle("gpt2")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(EngineError, match="golden"):
        build(path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_without_a_gpu_onnxruntime_writes(machine: Any, bundle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine()
    path = bundle("t5")
    build(path)
    monkeypatch.setattr(cuda_module, "_bindings", lambda: make_cuda(None))
    with pytest.warns(FallbackWarning, match="no GPU answers"):
        model = load(path)
    assert model.opened.provider == "cpu"
    with pytest.raises(UsageError, match="no GPU answers"):
        load(path, provider="tensorrt")
    with pytest.raises(UsageError, match="run by engines of TensorRT, by cuda or on the CPU"):
        load(path, provider="openvino")


def test_one_profile_is_for_prompts_and_one_for_steps() -> None:
    manifest = open_bundle(made("t5")).manifest
    decoder, encoder = manifest.graph("decoder"), manifest.graph("encoder")
    assert decoder.grows
    assert decoder.plan is not None
    assert encoder.plan is not None
    prompts, steps = (profile.axes for profile in decoder.plan.profiles)
    assert prompts["sequence"][2] == 64  # the whole context
    assert prompts["past"] == (0, 0, 63)
    assert (steps["sequence"], steps["past"], steps["total"]) == ((1, 1, 1), (1, 31, 63), (2, 32, 64))
    assert encoder.plan.profiles[0].axes["encoder_sequence"][2] == 64
    assert decoder.plan.compute_capability == "8.7"
    assert one_profile(decoder.plan) == decoder.plan  # TensorRT-RTX too needs both
    for axes in (prompts, steps):  # a call's axes belong together
        assert all(axes["total"][at] == axes["past"][at] + axes["sequence"][at] for at in range(3))


def spec_of(layers: int, heads: int, size: int) -> GraphSpec:
    """A decoder's signature."""
    before, after = ("batch", heads, "past", size), ("batch", heads, "total", size)
    kinds = [(kind, layer) for layer in range(layers) for kind in ("key", "value")]
    return GraphSpec(
        "decoder",
        "decoder.onnx",
        (
            TensorSpec("input_ids", "int64", ("batch", "sequence"), "tokens"),
            TensorSpec("attention_mask", "int64", ("batch", "total"), "mask"),
            *(TensorSpec(f"past.{n}.{kind}", "float16", before, f"past-{kind}", n) for kind, n in kinds),
        ),
        (
            TensorSpec("logits", "float32", ("batch", "rows", 32_000), "logits"),
            *(TensorSpec(f"present.{n}.{kind}", "float16", after, f"present-{kind}", n) for kind, n in kinds),
        ),
        opset=20,
    )


def test_a_context_that_the_memory_does_not_hold_is_refused_with_one_that_it_holds() -> None:
    device, graph = load_device("jetson-orin-nano"), spec_of(32, 32, 128)
    weights = 3_500_000_000

    with pytest.raises(UsageError, match=r"a context of 32,768 tokens takes .* GB beside 3\.5 GB") as refused:
        plan_decoder(device, graph, TextSizes(32_768, [100]), weights=weights)

    most = int(refused.value.hint.split("--max-length ")[1].split()[0])
    assert 1000 < most < 32_768
    assert plan_decoder(device, graph, TextSizes(most, [100]), weights=weights).profiles[0].axes["sequence"][2] == PIECE
    with pytest.raises(UsageError, match="beside"):
        plan_decoder(device, graph, TextSizes(most + 100, [100]), weights=weights)
    with pytest.raises(UsageError, match=r"beside 9\.0 GB of weights") as refused:
        plan_decoder(device, graph, TextSizes(64, [10]), weights=9_000_000_000)
    assert "smaller model" in refused.value.hint


def test_pieces_of_a_long_prompt_are_read_in_turn(machine: Any, bundle: Any) -> None:
    """As many tokens as the profile of prompts holds."""
    machine()
    path = bundle("gpt2")
    (graph,) = open_bundle(path).manifest.graphs
    assert graph.plan is not None
    prompts, steps = graph.plan.profiles
    small = replace(prompts, axes=prompts.axes | {"sequence": (1, 3, 3), "rows": (1, 1, 3)})
    build(path, plan=replace(graph.plan, profiles=(small, steps)))
    model, plain = load(path), load(path, provider="cpu")

    for prompt in PROMPTS:
        assert model(prompt, max_new_tokens=8) == plain(prompt, max_new_tokens=8)
        # Of FP32 in another order of sums.
        assert np.allclose(
            model.score(prompt)["token_log_likelihoods"], plain.score(prompt)["token_log_likelihoods"], atol=1e-4
        )


@pytest.mark.parametrize(
    ("device", "precision", "said"),
    [
        ("jetson-orin-nano", "bf16", "not exported in bf16 for TensorRT"),
        ("jetson-orin-nano", "int8-dynamic", "not exported in int8-dynamic for TensorRT"),
    ],
)
def test_a_precision_that_no_engine_has_is_refused(tmp_path: Path, device: str, precision: str, said: str) -> None:
    checkpoint = made("gpt2").parent / "model"
    words = ["export", str(checkpoint), "--device", device, "--precision", precision, "--output", str(tmp_path / "b")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == EXIT_USAGE
    assert said in " ".join(refused.output.split())


def test_the_command_says_what_was_built(machine: Any, bundle: Any) -> None:
    machine()
    shown = CliRunner().invoke(app, ["build", str(bundle("t5"))])
    assert shown.exit_code == EXIT_DONE, shown.output
    said = " ".join(shown.output.split())
    assert "sm87-encoder.engine" in said
    assert "sm87-decoder.engine" in said


def test_a_device_needs_no_memory_figure() -> None:
    device: Device = load_device("rtx-4090").model_copy(update={"memory_gb": None})
    assert plan_decoder(device, spec_of(2, 2, 8), TextSizes(1_000_000, [5]), weights=0).profiles
