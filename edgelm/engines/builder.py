"""Builds an engine from a graph and a plan, with whichever TensorRT package is given."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelm.engines.diagnostics import builder_error, parser_error
from edgelm.errors import EngineError
from edgelm.progress import Progress, silent
from edgelm.runtime.cache import keep
from edgelm.runtime.engine import can_be_compatible
from edgelm.runtime.engine_plan import EnginePlan
from edgelm.runtime.graph_spec import TensorSpec
from edgelm.runtime.tensorrt import Backend, make_logger, start


def build_engine(
    graph: Path,
    plan: EnginePlan,
    backend: Backend,
    *,
    inputs: Sequence[TensorSpec],
    capability: str,
    timings: Path | None = None,
    progress: Progress = silent,
) -> bytes:
    """The serialized engine of an ONNX graph.

    Its network is strongly typed: precisions are those of the graph, integers those of its Q/DQ nodes.

    Args:
        graph: file, with its weights beside it.
        inputs: of the graph.
        capability: compute capability of the GPU that it is for. The full TensorRT builds for the GPU that is here
            alone.
        timings: file with the timing cache of the full TensorRT, read and written; a second build for the same GPU need
            not time again.

    Raises:
        EngineError: a node that TensorRT does not take, a capability that it does not build for, or a build that fails.
        ResourceError: TensorRT does not start.
    """
    module = backend.module
    log = make_logger(module)
    builder = start(module.Builder, log, backend)
    flags = getattr(
        module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None
    )  # newer releases know no other networks
    network = builder.create_network(0 if flags is None else 1 << int(flags))
    parser = module.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        raise parser_error(graph.name, backend, parser)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, plan.workspace_mb * 10**6)
    _set_flags(config, plan, backend, capability)
    _set_target(config, backend, capability)
    for shape in plan.profiles:
        profile = builder.create_optimization_profile()
        for spec in inputs:
            profile.set_shape(spec.name, *shape.shapes(spec.shape))
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(
                f"{graph.name}: {backend.name} refuses the profile {shape}.",
                hint="Export with another --max-length or --max-batch.",
            )
    config.progress_monitor = monitor = _monitor(module, progress)
    with _timing_cache(config, backend, timings):
        made = builder.build_serialized_network(network, config)
    del monitor
    if made is None:
        raise builder_error(graph.name, backend, log.errors)
    return bytes(made)


def buildable_capabilities(backend: Backend) -> tuple[str, ...]:
    """What the package builds for without such a GPU, such as 8.9; none for the full TensorRT."""
    if not backend.rtx:
        return ()
    names = [name.removeprefix("SM") for name in backend.module.ComputeCapability.__members__ if name.startswith("SM")]
    return tuple(f"{name[:-1]}.{name[-1]}" for name in names)


def _set_flags(config: Any, plan: EnginePlan, backend: Backend, capability: str) -> None:
    flags = backend.module.BuilderFlag
    if plan.portable:
        config.set_flag(flags.VERSION_COMPATIBLE)
    if plan.portable and can_be_compatible(capability):
        config.hardware_compatibility_level = backend.module.HardwareCompatibilityLevel.AMPERE_PLUS
    if plan.refit:
        config.set_flag(flags.REFIT)
    if plan.strip:
        config.set_flag(flags.STRIP_PLAN)


def _set_target(config: Any, backend: Backend, capability: str) -> None:
    """RTX engines are for the capabilities that they name; others for the GPU at hand."""
    if not backend.rtx:
        return
    known = buildable_capabilities(backend)
    if capability not in known:
        raise EngineError(
            f"{backend.name} {backend.version} builds no engine for compute capability {capability}.",
            hint=f"It builds for {', '.join(known)}; on the device itself `edgelm build` can take the package "
            "tensorrt.",
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(backend.module.ComputeCapability, f"SM{capability.replace('.', '')}"), 0)


@contextlib.contextmanager
def _timing_cache(config: Any, backend: Backend, file: Path | None) -> Any:
    if backend.rtx or file is None:  # RTX times nothing: its kernels are chosen when the engine is loaded
        yield
        return
    known = config.create_timing_cache(file.read_bytes()) if file.is_file() else None
    cache = known or config.create_timing_cache(b"")  # what is broken is timed again
    config.set_timing_cache(cache, False)
    yield
    keep(file, bytes(config.get_timing_cache().serialize()))


def _monitor(module: Any, progress: Progress) -> Any:
    """TensorRT's phases as progress; the outermost phase has the steps that a person can follow."""

    class Monitor(module.IProgressMonitor):
        def __init__(self) -> None:
            super().__init__()
            self.outer: tuple[str, int] | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self.outer = (phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if self.outer is not None and phase_name == self.outer[0]:
                progress("engine", min(step + 1, self.outer[1]), self.outer[1])
            return True

        def phase_finish(self, phase_name: str) -> None:
            if self.outer is not None and phase_name == self.outer[0]:
                self.outer = None

    return Monitor()
