"""Models that write by onnxruntime's CUDA provider: keys and values stay where the graph runs. onnxruntime's binding to
the CPU stands in for that to a GPU."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from generator_bundles import exported, make_generator_bundle

from edgelm.errors import BundleError, UsageError
from edgelm.runtime import load, provider
from edgelm.runtime.generation.growing import GrowingDecoder
from edgelm.runtime.verify import verify

PROMPTS = ["turn the lights", "what a wonderful and moving film", "is it"]


made = functools.partial(exported, device="h100")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """Puts a GPU into this machine's onnxruntime."""
    gpu = Gpu()
    sessions = provider.make_session

    def make(*values: Any, **options: Any) -> Any:
        assert options.pop("provider") == "CUDAExecutionProvider"
        assert options.pop("provider_options") == {"use_tf32": "0"}  # else FP32 would have 10 bits
        return gpu.session(sessions(*values, **options))

    monkeypatch.setattr(provider, "find_provider", lambda name: (provider.EXECUTION_PROVIDERS[name], []))
    monkeypatch.setattr(provider, "make_session", make)
    monkeypatch.setattr(onnxruntime, "OrtValue", gpu)
    return gpu


class Gpu:
    """Counts what is moved to it, and what comes back, and keeps it on the CPU.

    Attributes:
        sent: arrays that were put on it, by the inputs' names; keys and values that were put there by themselves as
            `values`.
        outputs: where each output was made.
    """

    def __init__(self) -> None:
        self.sent: dict[str, int] = {}
        self.outputs: dict[str, str] = {}
        self._make = onnxruntime.OrtValue.ortvalue_from_numpy

    def ortvalue_from_numpy(self, values: np.ndarray, device: str, number: int) -> Any:
        assert values.size or device == "cpu"  # a GPU has no place for what is empty
        self.sent["values"] = self.sent.get("values", 0) + (device == "cuda")
        return self._make(values, "cpu", number)

    def session(self, session: Any) -> Any:
        """A session that says it runs on the GPU."""
        gpu = self

        class Binding:
            def __init__(self) -> None:
                self.real = session.io_binding()
                self.bind_ortvalue_input, self.get_outputs = self.real.bind_ortvalue_input, self.real.get_outputs

            def bind_cpu_input(self, name: str, values: np.ndarray) -> None:
                gpu.sent[name] = gpu.sent.get(name, 0) + 1
                self.real.bind_cpu_input(name, values.copy())  # what is changed later does not show on a GPU

            def bind_output(self, name: str, device: str = "cpu") -> None:
                gpu.outputs[name] = device
                self.real.bind_output(name, "cpu")

        class Session:
            run, get_inputs, get_outputs = session.run, session.get_inputs, session.get_outputs

            def get_providers(self) -> list[str]:
                return ["CUDAExecutionProvider", "CPUExecutionProvider"]

            def io_binding(self) -> Any:
                return Binding()

            def run_with_iobinding(self, binding: Binding) -> None:
                session.run_with_iobinding(binding.real)

        return Session()


@pytest.mark.parametrize(
    ("family", "precision"), [("gpt2", "fp32"), ("llama", "fp16"), ("llama", "int8"), ("t5", "fp32")]
)
def test_cuda_writes_what_the_cpu_writes(cuda: Gpu, family: str, precision: str) -> None:
    path = made(family, precision=precision)
    plain = load(path, provider="cpu")

    model = load(path)  # by the order of its device

    assert model.opened.provider == "cuda"
    settings: list[dict[str, Any]] = [{}, {"num_beams": 3}, {"draft": "lookup"} if family != "t5" else {"stop": ["it"]}]
    for chosen in settings:
        wanted = [plain(prompt, max_new_tokens=20, **chosen) for prompt in PROMPTS]
        assert [model(prompt, max_new_tokens=20, **chosen) for prompt in PROMPTS] == wanted
    assert model(PROMPTS, max_new_tokens=8) == [plain(prompt, max_new_tokens=8) for prompt in PROMPTS]
    assert verify(path, provider="cuda").ok


def test_keys_and_values_stay_on_the_gpu(cuda: Gpu) -> None:
    model = load(made("t5"))
    model.write([[5, 6, 7, 8]])
    decoder = model.reading.decoder
    assert isinstance(decoder, GrowingDecoder)
    assert {name for name, device in cuda.outputs.items() if device == "cpu"} == {"logits"}
    assert len(cuda.outputs) == 1 + len(decoder.spec.cache())
    cuda.sent.clear()
    decoder.start(1, memory=model.reading.encoder([[5, 6, 7]], pad_id=0))
    for _ in range(4):
        decoder.step(np.array([[3]]))
    crossing = {spec.name for spec in decoder.spec.inputs if spec.role in ("cross-key", "cross-value")}
    past = {spec.name for spec, _ in decoder.spec.cache()}
    assert crossing
    assert all(cuda.sent[name] == 1 for name in crossing)  # what the encoder made, once
    assert not past & cuda.sent.keys()
    assert cuda.sent["values"] == 0
    assert cuda.sent["input_ids"] == 4


def test_without_cuda_the_cpu_writes() -> None:
    assert load(made("gpt2")).opened.provider == "cpu"
    with pytest.raises(UsageError, match="has no CUDAExecutionProvider"):
        load(made("gpt2"), provider="cuda")


def test_graphs_for_the_cpu_do_not_run_by_cuda(cuda: Gpu, tmp_path: Path) -> None:
    path = make_generator_bundle(tmp_path / "b", "llama")
    with pytest.raises(UsageError, match="written for the CPU"):
        load(path, provider="cuda")


def test_the_graph_says_what_it_cannot_take(cuda: Gpu) -> None:
    decoder = load(made("gpt2")).reading.decoder
    decoder.start(1)
    with pytest.raises(BundleError, match="the graph cannot take"):
        decoder.step(np.array([[10**6]]))
