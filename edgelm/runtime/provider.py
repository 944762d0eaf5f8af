"""What runs a bundle here: an engine or one of onnxruntime's execution providers, in the order that its device prefers.

- tensorrt, tensorrt-rtx: an engine in the bundle that was built for this GPU, or else onnxruntime's provider of that
  name;
- cuda, openvino, coreml, qnn, xnnpack, cpu: onnxruntime's providers, where the installed onnxruntime has them;
- native: edgelm-native, on the CPU, where it is installed and the bundle holds a program for it.

Those of tensorrt-rtx and openvino may also be plugins of onnxruntime; see `edgelm.runtime.plugin`.

What a device file calls `onnxruntime-cuda` is `cuda` here. The CPU runs every bundle and comes last.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import BundleError, EdgelmError, ResourceError, UsageError
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.cache import cache_folder
from edgelm.runtime.cuda import Gpu, find_gpu
from edgelm.runtime.engine import Engine, EngineSession
from edgelm.runtime.engine import misfit as engine_misfit
from edgelm.runtime.engine_plan import EnginePlan, EngineRecord, one_profile
from edgelm.runtime.graph_spec import GraphSpec
from edgelm.runtime.native import NATIVE, NativeSession, is_wanted, misfit
from edgelm.runtime.plugin import find_devices
from edgelm.runtime.saturation import warn_if_slower
from edgelm.runtime.session import available_cores, make_session, preload_cuda
from edgelm.runtime.tensorrt import MODULES, installed_backends, load_backend

EXECUTION_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "native": "edgelm-native",  # not onnxruntime's
    "cpu": "CPUExecutionProvider",
}
_PREFIX = "onnxruntime-"
_CACHE = "tensorrt"  # timings and compiled kernels


class FallbackWarning(UserWarning):
    """An engine of the bundle is not used here; something slower answers instead."""


@dataclass(frozen=True)
class Passed:
    """A provider that was not taken, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Opened:
    """A session, and how it was chosen.

    Attributes:
        provider: a key of `EXECUTION_PROVIDERS`.
        engine: that the session runs; None: onnxruntime runs the graph.
        passed: what would have come before it.
    """

    session: Any
    provider: str
    engine: EngineRecord | None
    passed: tuple[Passed, ...]

    @property
    def why(self) -> str:
        """In one line."""
        what = "onnxruntime"
        if self.engine:
            what = f"the engine {self.engine.path}"
        elif self.provider == NATIVE:
            what = f"edgelm-native with {self.session.instruction_set}"
        before = "; ".join(f"not {entry.name}: {entry.reason}" for entry in self.passed)
        return f"{self.provider}, by {what}" + (f" ({before})" if before else "")


def open_session(bundle: Bundle, *, threads: int | None = None, provider: str | None = None) -> Opened:
    """The first session of the bundle's providers that can be made here.

    Args:
        provider: takes this one or fails; None: by the bundle's order, the CPU at last.

    Raises:
        UsageError: a provider that does not exist, or is forced and not there.
        BundleError: the graph cannot be loaded at all, or a forced engine does not fit.
    """
    check_provider(provider)
    passed: list[Passed] = []
    for name in [provider] if provider else wanted_providers(bundle):
        for attempt in _attempts(bundle, name, threads):
            if isinstance(attempt, Passed):
                passed.append(attempt)
                continue
            session, engine = attempt
            warn_of_unused(bundle, engine, passed)
            if name == "cpu":
                warn_if_slower(bundle.path, bundle.manifest)
            return Opened(session, name, engine, tuple(passed))
    raise nothing_runs(bundle, provider, passed)


def nothing_runs(bundle: Bundle, provider: str | None, passed: Sequence[Passed]) -> UsageError:
    """The error of a provider that was asked for and is not there."""
    reasons = "; ".join(entry.reason for entry in passed)
    return UsageError(
        f"{bundle.path} cannot run with {provider} here: {reasons}.",
        hint="Leave --provider out: it then runs with what is there.",
    )


def check_provider(provider: str | None) -> None:
    """Refuse a name that no provider has.

    Raises:
        UsageError: the name is not a known execution provider.
    """
    if provider is not None and provider not in EXECUTION_PROVIDERS:
        raise UsageError(
            f"there is no execution provider {provider!r}.", hint=f"Providers: {', '.join(EXECUTION_PROVIDERS)}."
        )


def wanted_providers(bundle: Bundle) -> list[str]:
    """The bundle's providers, first choice first; the CPU is always among them.

    Raises:
        BundleError: its manifest names something else.
    """
    names = [name.removeprefix(_PREFIX) for name in bundle.manifest.runtimes]
    for name in names:
        if name not in EXECUTION_PROVIDERS:
            raise BundleError(
                f"{bundle.path}: manifest.json: runtimes: there is no {name!r}.",
                hint=f"Runtimes: {', '.join(EXECUTION_PROVIDERS)}.",
            )
    found = dict.fromkeys(name for name in names if name not in ("cpu", NATIVE))
    return [*found, *([NATIVE] if is_wanted(bundle) else []), "cpu"]


def _attempts(bundle: Bundle, name: str, threads: int | None) -> Iterator[tuple[Any, EngineRecord | None] | Passed]:
    """A provider's engine, where it may have one, then onnxruntime with it: each a session, or why there is none."""
    if name == NATIVE:
        yield _open_native(bundle, threads)
        return
    if name in MODULES:
        yield open_engine(bundle, bundle.manifest.graph(), name, EngineSession)
    yield open_graph(bundle, name, bundle.manifest.graph(), threads=threads)


def _open_native(bundle: Bundle, threads: int | None) -> tuple[Any, None] | Passed:
    if reason := misfit(bundle):
        return Passed(NATIVE, reason)
    graph, cores = bundle.manifest.graph(), available_cores()
    threads = threads or min(graph.session.get("intra_op_num_threads") or cores, cores)
    try:
        return NativeSession(bundle, graph, threads=threads), None
    except BundleError as error:
        return Passed(NATIVE, error.message.rstrip("."))


def open_engine(
    bundle: Bundle, graph: GraphSpec, package: str, kind: type[Engine]
) -> tuple[Engine, EngineRecord] | Passed:
    """The engine of a graph that a package runs here, or why there is none.

    Args:
        kind: what the engine is opened as.
    """
    records = [record for record in graph.engines if record.package == package]
    if not records:
        return Passed(package, "the bundle has no engine of it (`edgelm build` makes one)")
    if package not in installed_backends():
        return Passed(package, f"{package} is not installed")
    gpu = find_gpu()
    if gpu is None:
        return Passed(package, "no GPU answers")
    try:
        backend = load_backend(package)
        reasons = []
        for record in records:
            reason = engine_misfit(bundle.manifest, graph, record, backend, gpu)
            if not reason:
                return kind(bundle, graph, record, backend, cache=_kernel_cache(record, gpu)), record
            reasons.append(reason)
    except EdgelmError as error:
        return Passed(package, error.message.rstrip("."))
    return Passed(package, f"no engine fits: {', '.join(dict.fromkeys(reasons))}")


def open_graph(
    bundle: Bundle, name: str, graph: GraphSpec, *, threads: int | None = None, growing: bool = False
) -> tuple[Any, None] | Passed:
    """A session of a graph that a provider of onnxruntime runs here, or why there is none.

    Args:
        name: of the provider, a key of `EXECUTION_PROVIDERS`.
        threads, growing: as `make_session`.

    Raises:
        BundleError: the CPU cannot run it either.
    """
    try:
        wanted, devices = find_provider(name)
    except ResourceError as error:
        return Passed(name, error.message.rstrip("."))
    options = _provider_options(name, bundle)
    if name in ("cuda", *MODULES):
        preload_cuda()
    try:
        session = make_session(
            bundle,
            name=graph.name,
            threads=threads,
            provider=wanted,
            provider_options=options,
            devices=devices,
            growing=growing,
        )
    except BundleError as error:
        if name == "cpu":
            raise
        return Passed(name, error.message.rstrip("."))
    if wanted not in session.get_providers():  # onnxruntime itself fell back, without a word
        return Passed(name, f"{wanted} does not start here")
    return session, None


def find_provider(name: str) -> tuple[str, list[Any]]:
    """What onnxruntime calls a provider that it has here and, where that is a plugin, the device that it runs on.

    Raises:
        ResourceError: it has none, or its plugin does not load.
    """
    import onnxruntime

    wanted = EXECUTION_PROVIDERS[name]
    if wanted in onnxruntime.get_available_providers():
        return wanted, []
    devices = find_devices(name)
    if not devices:
        raise ResourceError(f"this onnxruntime has no {wanted}.", hint="Run with another --provider.")
    return str(devices[0].ep_name), devices


def _provider_options(name: str, bundle: Bundle) -> dict[str, str]:
    """TensorRT's providers build an engine themselves: for the lengths of the plan, and kept for the next process. That
    of CUDA would round FP32 to 10 bits."""
    if name == "cuda":
        return {"use_tf32": "0"}
    plan = bundle.manifest.plan
    if name not in MODULES or plan is None:
        return {}
    prefix, plan = ("trt", plan) if name == "tensorrt" else ("nv", one_profile(plan))
    options = {
        f"{prefix}_profile_{bound}_shapes": _shapes(bundle, plan, which)
        for which, bound in enumerate(("min", "opt", "max"))
    }
    options[f"{prefix}_max_workspace_size"] = str(plan.workspace_mb * 10**6)
    if name == "tensorrt":
        folder = str(cache_folder(_CACHE))
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
        }
    else:
        options["nv_runtime_cache_path"] = str(cache_folder(_CACHE))
    return options


def _shapes(bundle: Bundle, plan: EnginePlan, which: int) -> str:
    """In the form that onnxruntime reads: one shape for every profile and input; `which`: 0 the least, 1 the usual, 2
    the largest."""
    return ",".join(
        f"{spec.name}:{'x'.join(map(str, profile.shapes(spec.shape)[which]))}"
        for profile in plan.profiles
        for spec in bundle.manifest.inputs
    )


def _kernel_cache(record: EngineRecord, gpu: Gpu) -> Path:
    what = hashlib.sha256(f"{record.graph} {record.plan} {record.package} {record.version} {gpu}".encode()).hexdigest()[
        :24
    ]
    return cache_folder(_CACHE) / f"{what}.kernels"


def warn_of_unused(bundle: Bundle, engine: EngineRecord | None, passed: Sequence[Passed]) -> None:
    """Say so where the bundle has an engine that is not used."""
    packages = {record.package for graph in bundle.manifest.graphs for record in graph.engines}
    unused = [entry for entry in passed if entry.name in packages]
    if engine is None and unused:
        reasons = "; ".join(f"{entry.name}: {entry.reason}" for entry in unused)
        warnings.warn(
            f"{bundle.path}: its engine is not used ({reasons}). `edgelm build` makes one for this device.",
            FallbackWarning,
            stacklevel=4,
        )
