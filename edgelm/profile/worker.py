"""One subject in a process of its own: `python -m edgelm.profile.worker`, told what to do by JSON lines on stdin.

A process of its own imports nothing but what the subject needs (a bundle: the runtime), so that load time and peak
memory are those of a device; and no thread pool of one subject stands in the way of another's.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.errors import EdgelmError, InputError, UsageError
from edgelm.profile.timed_calls import TimedCalls, sum_operators
from edgelm.runtime import Bundle, load, open_bundle
from edgelm.runtime.inputs.samples import as_sample
from edgelm.runtime.native import NATIVE
from edgelm.runtime.provider import EXECUTION_PROVIDERS, find_provider, open_session
from edgelm.runtime.session import available_cores, make_options, make_session, preload_cuda

Feeds = dict[str, np.ndarray]
WEIGHTS_SUFFIX = ".bin"  # of the weights beside a program that lies in no bundle


def main() -> None:
    """Answer commands until stdin closes."""
    out = sys.stdout
    sys.stdout = sys.stderr  # nothing that a library prints may end up among the answers
    worker: TimedCalls | None = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "load":
                worker = _load(**command["subject"])
                answer: Any = {"load_ms": worker.load_ms, "chosen": worker.chosen}
            else:
                answer = getattr(worker, command.pop("do"))(**command)
        except EdgelmError as error:
            answer = {"error": error.message, "hint": error.hint, "class": type(error).__name__}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def _load(*, generates: bool, **subject: Any) -> TimedCalls:
    if not generates:
        return _Worker(**subject)
    from edgelm.profile.generation.worker import GenerationWorker

    return GenerationWorker(**subject)


class _Worker(TimedCalls):
    """The subject, loaded, and the inputs of the case at hand."""

    def __init__(
        self,
        *,
        kind: str,
        path: str,
        threads: int | None,
        session: dict[str, Any] | None,
        provider: str | None = None,
        precision: str = "fp32",
        compiled: str | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.path, self.threads, self.session, self.provider = kind, path, threads, session, provider
        self.precision, self.compiled = precision, compiled
        start = time.perf_counter()
        self.model: Any = None
        self.call = {
            "bundle": self._load_bundle,
            "onnx": self._load_onnx,
            "native": self._load_native,
            "pytorch": self._load_pytorch,
        }[kind]()
        self.load_ms = (time.perf_counter() - start) * 1000

    def prepare(self, *, feeds: list[dict[str, Any]]) -> dict[str, Any]:
        """Take the inputs of a case and run each once."""
        self.feeds = [
            self._fit({name: np.asarray(values, dtype=np.int64) for name, values in feed.items()}) for feed in feeds
        ]
        for feed in self.feeds:
            self.call(feed)
        self.next = 0
        return {}

    def tokenize(self, *, texts: list[Any], repeat: int) -> dict[str, Any]:
        """Time the tokenization of one text, in ms."""
        rows = [as_sample(text) for text in texts]
        samples = []
        for index in range(repeat):
            start = time.perf_counter()
            self.model.tokenize([rows[index % len(rows)]])
            samples.append((time.perf_counter() - start) * 1000)
        return {"samples_ms": samples}

    def sessions(self, *, count: int) -> dict[str, Any]:
        """Time of making the bundle's session again, in ms: no imports, the files in the system's cache."""
        samples = []
        for _ in range(count):
            start = time.perf_counter()
            open_session(replace(self._bundle(), check_hashes=False), threads=self.threads, provider=self.provider)
            samples.append((time.perf_counter() - start) * 1000)
        return {"samples_ms": samples}

    def operators(self, *, runs: int) -> dict[str, Any]:
        """Time by operator, by onnxruntime's own profiler, in a second session."""
        if self.kind in ("pytorch", "native") or (self.kind == "bundle" and not self._by_onnxruntime()):
            return {"operators": []}
        with tempfile.TemporaryDirectory() as folder:
            session = self._profiled(str(Path(folder) / "operators"))
            for index in range(runs):
                session.run(None, self.feeds[index % len(self.feeds)])
            events = json.loads(Path(session.end_profiling()).read_text())
        return {"operators": sum_operators(events, runs)}

    def _by_onnxruntime(self) -> bool:
        opened = self.model.opened
        return opened.engine is None and opened.provider != NATIVE

    def _profiled(self, prefix: str) -> Any:
        """A second session of the same graph, with onnxruntime's profiler on."""
        import onnxruntime

        if self.kind == "bundle":
            provider, devices = find_provider(self.model.opened.provider)
            return make_session(
                replace(self._bundle(), check_hashes=False),
                threads=self.threads,
                provider=provider,
                devices=devices,
                profile=prefix,
            )
        options = make_options({}, threads=self.threads)
        options.enable_profiling = True
        options.profile_file_prefix = prefix
        return onnxruntime.InferenceSession(self.path, options, providers=self._providers())

    def _fit(self, feeds: Feeds) -> Feeds:
        """Only the inputs that this subject has.

        Raises:
            InputError: it needs one that text does not give.
        """
        names = self._input_names(feeds)
        unknown = [name for name in names if name not in feeds]
        if unknown:
            raise InputError(
                f"{self.path}: the graph needs inputs that the bundle's texts do not give: {', '.join(unknown)}.",
                hint=f"Inputs must be among: {', '.join(feeds)}.",
            )
        return {name: feeds[name] for name in names}

    def _input_names(self, feeds: Feeds) -> list[str]:
        if self.kind == "native":
            return list(feeds)  # it leaves what it does not read
        if self.kind == "pytorch":
            return list(self.model.inputs)
        session = self.model.session if self.kind == "bundle" else self.model
        return [value.name for value in session.get_inputs()]

    def _load_bundle(self) -> Callable[[Feeds], Any]:
        self.model = load(self._bundle(), threads=self.threads, provider=self.provider)
        opened = self.model.opened
        self.chosen = {
            "runs_on": opened.why,
            "provider": opened.provider,
            "engine": None if opened.engine is None else opened.engine.path,
        }
        self.chosen["passed"] = [{"name": entry.name, "reason": entry.reason} for entry in opened.passed]
        infer: Callable[[Feeds], Any] = self.model.infer
        return infer

    def _bundle(self) -> Bundle:
        """The bundle, with the session settings that are tried."""
        bundle = open_bundle(self.path)
        return bundle if self.session is None else bundle.with_settings(self.session)

    def _load_onnx(self) -> Callable[[Feeds], Any]:
        import onnxruntime

        settings = self.session or {}
        options, disabled = make_options(settings, threads=self.threads), settings.get("disabled_optimizers")
        providers = self._providers()
        if self.provider == "cuda":
            preload_cuda()
        try:
            session = onnxruntime.InferenceSession(
                self.path, options, providers=providers, disabled_optimizers=disabled
            )
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise InputError(
                f"{self.path}: onnxruntime cannot load it: {str(error).splitlines()[0][:160]}",
                hint="Give an ONNX file, a bundle or a checkpoint folder.",
            ) from error
        if providers[0] not in session.get_providers():  # onnxruntime fell back, without a word
            raise UsageError(
                f"{self.path}: {providers[0]} does not start here.", hint="Look whether its libraries are installed."
            )
        self.model = session
        self.chosen = {"runs_on": f"{self.provider or 'cpu'}, by onnxruntime", "provider": self.provider or "cpu"}
        return lambda feeds: session.run(None, feeds)

    def _load_native(self) -> Callable[[Feeds], Any]:
        from edgelm_native import Encoder

        program = Path(self.path)
        encoder = Encoder(
            program.read_bytes(), np.memmap(program.with_suffix(WEIGHTS_SUFFIX), dtype=np.uint8, mode="r")
        )
        threads = self.threads or available_cores()
        self.chosen = {"runs_on": f"{NATIVE}, with {encoder.instruction_set}", "provider": NATIVE}
        return lambda feeds: encoder(feeds, threads=threads)

    def _providers(self) -> list[str]:
        """For an ONNX file: the execution provider that was asked for, and the CPU for what it does not know.

        Raises:
            UsageError: the installed onnxruntime does not have it.
        """
        import onnxruntime

        name, there = self.provider or "cpu", onnxruntime.get_available_providers()
        wanted = EXECUTION_PROVIDERS.get(name, name)
        if wanted not in there:
            raise UsageError(f"{self.path}: this onnxruntime has no {wanted}.", hint=f"It has {', '.join(there)}.")
        return list(dict.fromkeys([wanted, EXECUTION_PROVIDERS["cpu"]]))

    def _load_pytorch(self) -> Callable[[Feeds], Any]:
        from edgelm.profile.pytorch import PyTorchModel

        self.model = model = PyTorchModel(
            self.path,
            threads=self.threads,
            provider=self.provider or "cpu",
            precision=self.precision,
            compiled=self.compiled,
        )
        self.chosen = {"runs_on": model.runs_on, "provider": self.provider or "cpu"}
        return model


if __name__ == "__main__":
    main()
