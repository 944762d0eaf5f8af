"""Runs a TensorRT engine of a bundle, also as an inference session: the same calls as onnxruntime's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.errors import BundleError, ResourceError
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.cache import keep
from edgelm.runtime.cuda import JETSONS, Gpu, Stream
from edgelm.runtime.engine_plan import EngineRecord, ShapeRange
from edgelm.runtime.graph_spec import GraphSpec
from edgelm.runtime.manifest import Manifest, graph_hash
from edgelm.runtime.tensorrt import Backend, last_error, make_logger, start

_BATCH = "batch"  # the first axis of every input, and of every output


@dataclass(frozen=True)
class _Value:
    """Name of an input or output, as `get_inputs` of onnxruntime gives it."""

    name: str


def misfit(manifest: Manifest, graph: GraphSpec, record: EngineRecord, backend: Backend, gpu: Gpu) -> str:
    """Why an engine must not be loaded here, in words; empty if it may.

    An engine of another version, GPU or graph would be refused by TensorRT at best, and give wrong answers at worst.
    """
    if record.graph != graph_hash(manifest, graph):
        return "it was built from another graph"
    if record.package != backend.name:
        return f"it was built by {record.package}"
    if record.version != backend.version and not _newer_may(record, backend):
        return f"it was built by {record.package} {record.version}, and {backend.version} is installed"
    if gpu.compute_capability not in record.compute_capabilities and not (
        record.plan.portable and not backend.rtx and _newer_gpu(record, gpu)
    ):
        return (
            f"it was built for compute capability {' and '.join(record.compute_capabilities)}, and this GPU has "
            f"{gpu.compute_capability}"
        )
    if record.driver is not None and _numbers(gpu.driver) < _numbers(record.driver):
        return f"it was built with a driver for CUDA {record.driver}, and this one runs {gpu.driver}"
    return ""


def _newer_may(record: EngineRecord, backend: Backend) -> bool:
    """A version-compatible engine runs with later releases of the same major version (TensorRT), of RTX none."""
    built, here = _numbers(record.version), _numbers(backend.version)
    return record.plan.portable and not backend.rtx and built[0] == here[0] and built <= here


def _newer_gpu(record: EngineRecord, gpu: Gpu) -> bool:
    """A hardware-compatible engine runs on every GPU that can have one."""
    return all(can_be_compatible(each) for each in (gpu.compute_capability, *record.compute_capabilities))


def can_be_compatible(capability: str) -> bool:
    """Whether TensorRT makes engines on such a GPU that others run too: from Ampere on, and not on a Jetson.

    Source: NVIDIA TensorRT documentation, Hardware Compatibility.
    """
    return _numbers(capability) >= (8, 0) and capability not in JETSONS


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


class Engine:
    """An engine of a graph, loaded on the GPU; `cache`: file in which TensorRT-RTX keeps the kernels that it compiles
    for this GPU.

    Raises (when made):
        BundleError: TensorRT does not load it.
        ResourceError: the GPU has no room, or CUDA fails.
    """

    def __init__(
        self, bundle: Bundle, graph: GraphSpec, record: EngineRecord, backend: Backend, *, cache: Path | None = None
    ) -> None:
        module = backend.module
        self.record = record
        self._log = make_logger(module)
        self._runtime = start(module.Runtime, self._log, backend)
        if record.plan.portable and not backend.rtx:
            self._runtime.engine_host_code_allowed = (
                True  # a version-compatible engine brings a runtime of its own; the bundle is hashed
            )
        self._engine = self._runtime.deserialize_cuda_engine(bundle.read(record.path))
        if self._engine is None:
            raise BundleError(
                f"{bundle.path}: {backend.name} cannot load {record.path}: {self._reason()}",
                hint="`edgelm build` makes it anew.",
            )
        if record.plan.strip:
            self._put_weights_in(bundle, graph, module)
        self._cache = cache
        self._kernels: Any = None
        self._contexts = [self._make_context() for _ in record.plan.profiles]
        if None in self._contexts:
            raise ResourceError(
                f"{backend.name} cannot run {record.path}: {self._reason()}.",
                hint="Free memory of the GPU, or run with --provider cuda.",
            )
        self._stream = Stream()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = {name for name in names if self._engine.get_tensor_mode(name) == module.TensorIOMode.INPUT}
        self._inputs = [name for name in names if name in inputs]
        self._outputs = [name for name in names if name not in inputs]
        self._shapes = {spec.name: spec.shape for spec in graph.inputs}
        self._types = {name: np.dtype(module.nptype(self._engine.get_tensor_dtype(name))) for name in names}
        for index, context in enumerate(self._contexts):
            if index:
                context.set_optimization_profile_async(index, int(self._stream.handle))
        self._stream.wait()

    def get_inputs(self) -> list[_Value]:
        """In the engine's order."""
        return [_Value(name) for name in self._inputs]

    def get_outputs(self) -> list[_Value]:
        """In the engine's order."""
        return [_Value(name) for name in self._outputs]

    def _execute(self, context: Any) -> None:
        """Queue a call whose tensors have their places.

        Raises:
            BundleError: the engine does not take it.
        """
        if not context.execute_async_v3(int(self._stream.handle)):
            raise BundleError(
                f"the engine {self.record.path} failed: {self._reason()}", hint="`edgelm build` makes it anew."
            )

    def _sizes(self, feeds: dict[str, np.ndarray]) -> dict[str, int]:
        """Of the inputs' dynamic axes, by name."""
        return {
            axis: size
            for name in self._inputs
            if name in feeds
            for axis, size in zip(self._shapes[name], feeds[name].shape, strict=True)
            if isinstance(axis, str)
        }

    def _make_context(self) -> Any:
        """One for each profile; TensorRT-RTX compiles its kernels for them."""
        if not hasattr(self._engine, "create_runtime_config"):
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        if self._cache is not None and hasattr(config, "create_runtime_cache"):
            if self._kernels is None:
                self._kernels = config.create_runtime_cache()
                if self._cache.is_file():
                    self._kernels.deserialize(self._cache.read_bytes())
            config.set_runtime_cache(self._kernels)
        return self._engine.create_execution_context(config)

    def _keep_kernels(self) -> None:
        """Keep what was compiled for the first call, so that the next process need not compile it."""
        if self._kernels is None or self._cache is None:
            return
        kernels, self._kernels = self._kernels, None
        keep(self._cache, bytes(kernels.serialize()))

    def _put_weights_in(self, bundle: Bundle, graph: GraphSpec, module: Any) -> None:
        """Give a stripped engine the weights of the bundle's graph."""
        import tempfile  # seldom of use, and slow to import

        refitter = module.Refitter(self._engine, self._log)
        parser = module.OnnxParserRefitter(refitter, self._log)
        with tempfile.TemporaryDirectory() as folder:
            done = (
                parser.refit_from_file(str(bundle.extract_graph(Path(folder), graph.file)))
                and refitter.refit_cuda_engine()
            )
        if not done:
            raise BundleError(
                f"{bundle.path}: the weights do not fit {self.record.path}: {self._reason()}",
                hint="`edgelm build` makes it anew.",
            )

    def _reason(self) -> str:
        return last_error(self._log)


class EngineSession(Engine):
    """Runs an engine as an inference session: the same calls as onnxruntime's."""

    def run(self, names: list[str] | None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs by name (None: all). More texts than the engine takes at once go in several calls.

        Raises:
            BundleError: a length that no profile holds.
        """
        wanted = names or self._outputs
        sizes = self._sizes(feeds)
        count = sizes.pop(_BATCH)
        most = max(
            (profile.axes[_BATCH][2] for profile in self.record.plan.profiles if profile.holds(sizes)), default=count
        )
        parts = [
            self._call(wanted, {name: feeds[name][start : start + most] for name in self._inputs})
            for start in range(0, count, most)
        ]
        return [np.concatenate(found) if len(parts) > 1 else found[0] for found in zip(*parts, strict=True)]

    def _call(self, wanted: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        stream = self._stream
        context = self._contexts[choose_profile(self.record.plan.profiles, self._sizes(feeds))]
        held = []  # the copies must live until the GPU has read them
        for name in self._inputs:
            values = np.ascontiguousarray(feeds[name], dtype=self._types[name])
            held.append(values)
            context.set_input_shape(name, values.shape)
            context.set_tensor_address(name, stream.upload(name, values))
        results = {}
        for name in self._outputs:
            results[name] = np.empty(tuple(context.get_tensor_shape(name)), dtype=self._types[name])
            context.set_tensor_address(name, stream.buffer(name, results[name].nbytes))
        self._execute(context)
        for name in wanted:
            stream.download(name, results[name])
        stream.wait()
        self._keep_kernels()
        return [results[name].astype(np.float32, copy=False) for name in wanted]


def choose_profile(profiles: tuple[ShapeRange, ...], sizes: Mapping[str, int]) -> int:
    """The first profile that holds inputs whose axes have these sizes.

    Raises:
        BundleError: none does.
    """
    for index, profile in enumerate(profiles):
        if profile.holds(sizes):
            return index
    raise BundleError(
        f"no engine profile holds inputs of {' and '.join(f'{axis} {size}' for axis, size in sizes.items())}.",
        hint="Export the bundle again with a longer --max-length.",
    )
