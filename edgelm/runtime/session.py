"""Makes the inference session of a bundle: threads, providers, and onnxruntime's errors in our words."""

from __future__ import annotations

import contextlib
import io
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgelm.errors import BundleError
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.external_data import has_branches
from edgelm.runtime.graph_spec import MODEL, OPTIMIZED_FILE, GraphSpec
from edgelm.runtime.manifest import WEIGHTS_FILE
from edgelm.runtime.saturation import EXACT_ENTRY, needs_exact_kernels
from edgelm.runtime.tensor_check import check_tensors

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def make_session(
    bundle: Bundle,
    *,
    name: str = MODEL,
    threads: int | None = None,
    provider: str = CPU,
    provider_options: dict[str, str] | None = None,
    devices: Sequence[Any] = (),
    profile: str | None = None,
    optimized: Path | None = None,
    growing: bool = False,
) -> Any:
    """An onnxruntime `InferenceSession` for a graph of the bundle.

    Args:
        name: of the graph.
        threads: within one operator; None: what the manifest says, else one for each core that this process may use.
        provider: an execution provider by onnxruntime's name; the CPU takes what it does not know.
        provider_options: onnxruntime's, for that provider.
        devices: that the provider runs on, where it is a plugin.
        profile: path prefix for onnxruntime's own profiler; None: off.
        optimized: write the graph as it runs here; what it leaves as it was, it reads from the bundle's weights.
        growing: every run has shapes of its own, so that no plan of buffers is made for each: a text that is written.

    Raises:
        BundleError: the graph cannot be loaded.
    """
    import onnxruntime

    graph = bundle.manifest.graph(name)
    settings = graph.session
    options = make_options(settings, threads=threads)
    options.enable_mem_pattern = options.enable_mem_pattern and not growing
    exact = provider == CPU and needs_exact_kernels(bundle.manifest)
    if exact:
        options.add_session_config_entry(EXACT_ENTRY, "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    levels = onnxruntime.GraphOptimizationLevel
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED  # beyond it are layouts for one kind of CPU
    try:
        cached = (
            optimized is None and provider == CPU and _has_cache(bundle, graph) and not exact
        )  # onnxruntime chooses exact kernels when it optimizes
        if cached:
            options.graph_optimization_level = levels.ORT_DISABLE_ALL  # it is done
        disabled = settings.get("disabled_optimizers")
        with _source(bundle, options, graph, OPTIMIZED_FILE if cached else graph.file) as source:
            if devices:
                options.add_provider_for_devices(list(devices), provider_options or {})
                session = onnxruntime.InferenceSession(source, options, disabled_optimizers=disabled)
            else:
                providers = [(provider, provider_options or {}), *([CPU] if provider != CPU else [])]
                again = int(
                    provider != CPU
                )  # what fails by the CPU fails by it again, and onnxruntime prints about it in between
                session = onnxruntime.InferenceSession(
                    source, options, providers=providers, disabled_optimizers=disabled, enable_fallback=again
                )
        check_tensors(graph, session)
        return session
    except BundleError:
        raise
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        reason = str(error).strip().splitlines()[0][:200]
        raise BundleError(
            f"{bundle.path}: onnxruntime {onnxruntime.__version__} cannot load {graph.file}: {reason}",
            hint="Export it again, or update onnxruntime.",
        ) from error


def make_options(settings: dict[str, Any], *, threads: int | None = None) -> Any:
    """Session options from a manifest's settings.

    `intra_op_num_threads`; `arena`: whether buffers are kept between calls; `parallel`: whether operators that do not
    wait for each other run at once; `entries`: onnxruntime's own configuration keys. What else a manifest may say is no
    option: `disabled_optimizers`, an argument of the session; `mapped`: whether a folder's weights are mapped into
    memory rather than read; `optimized_by`: whose optimized graph lies in the bundle (see `optimizer`). What a manifest
    may say at all: `edgelm.runtime.session_settings`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it raises what it would print, and prints what a graph calls its nodes
    options.add_session_config_entry(
        "session.load_model_format", "ONNX"
    )  # its other format is not looked through for files
    cores = available_cores()
    options.intra_op_num_threads = threads or min(settings.get("intra_op_num_threads") or cores, cores)
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = bool(settings.get("arena", True))
    if settings.get("parallel"):
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = 2
    for key, value in settings.get("entries", {}).items():
        options.add_session_config_entry(key, str(value))
    return options


def optimizer() -> str:
    """Who optimizes graphs here: onnxruntime's version and the architecture, which both decide what comes out (x86
    casts FP16 to FP32)."""
    import onnxruntime

    return f"{onnxruntime.__version__} {platform.machine()}"


def _has_cache(bundle: Bundle, graph: GraphSpec) -> bool:
    """Whether the bundle holds the graph as it is optimized here."""
    return not bundle.is_file and graph.session.get("optimized_by") == optimizer()


def preload_cuda() -> None:
    """Have onnxruntime find CUDA's libraries also where pip put them; what it misses, the session will say."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(RuntimeError):
            onnxruntime.preload_dlls()


@contextlib.contextmanager
def _source(bundle: Bundle, options: Any, spec: GraphSpec, name: str) -> Iterator[str | bytes]:
    """What a session of a graph is made of, which lies under this name: a path, beside which it finds the weights to
    map into memory, or bytes, with the weights in the options. They must be there until the session is made. Of mapped
    weights the hash is compared afterwards, before anyone gets the session."""
    graph, weights = bundle.read_graph(name), bundle.has(WEIGHTS_FILE)
    if not bundle.is_file and spec.session.get("mapped", True):
        if weights:
            bundle.locate(WEIGHTS_FILE)  # no link, no pipe, of the size that the manifest says
        try:
            yield str(bundle.locate(name))
        finally:
            if weights:  # hashed while the session was made of them, which nobody has yet
                bundle.check(WEIGHTS_FILE)
    elif not weights:
        yield graph
    elif hasattr(options, "add_external_initializers_from_files_in_memory") and not has_branches(graph, name):
        data = bundle.read(WEIGHTS_FILE)
        options.add_external_initializers_from_files_in_memory([WEIGHTS_FILE], [data], [len(data)])
        yield graph
        del data  # onnxruntime keeps its address alone
    else:  # of branches, and by an older onnxruntime of any graph, weights are read from files alone
        import tempfile  # slow to import

        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield str(bundle.extract_graph(Path(folder), name))


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
