"""Stand-ins for a GPU: CUDA's bindings with memory in this process, and a `tensorrt` whose engines onnxruntime runs.

They keep the rules that callers must keep (addresses, shapes within profiles, versions), so what is tested is edgelm's
handling of engines, not TensorRT. The real builder, which needs no GPU, has its own tests.
"""

from __future__ import annotations

import ctypes
import json
import os
from enum import IntEnum
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime


class Status(IntEnum):
    """As `cudaError_t`."""

    cudaSuccess = 0  # noqa: N815
    cudaErrorNoDevice = 100  # noqa: N815


def equip(folder: Path, capability: str = "8.7") -> str:
    """Write modules into a folder that make a GPU and a `tensorrt` of any machine on whose PYTHONPATH it lies; that
    path."""
    bindings = folder / "cuda" / "bindings"
    bindings.mkdir(parents=True)
    for package in (bindings.parent, bindings):
        (package / "__init__.py").touch()
    take = (
        "import fake_gpu\nglobals().update((name, value) for name, value in vars({}).items() if name in "
        "('__version__',) or name[:2] != '__')\n"
    )
    (bindings / "runtime.py").write_text(take.format(f"fake_gpu.make_cuda({capability!r})"))
    (folder / "tensorrt.py").write_text(take.format("fake_gpu.make_tensorrt()"))
    return os.pathsep.join((str(folder), str(Path(__file__).parent)))


def make_cuda(capability: str | None = "8.7", driver: int = 12060) -> ModuleType:
    """The functions of `cuda.bindings.runtime` that edgelm calls; capability None: a driver that shows no GPU."""
    memory: dict[int, Any] = {}
    major, minor = (int(part) for part in (capability or "0.0").split("."))

    def attribute(which: str, device: int) -> tuple[Any, ...]:
        return (
            (Status.cudaErrorNoDevice, None)
            if capability is None
            else (Status.cudaSuccess, major if which == "major" else minor)
        )

    def allocate(size: int) -> tuple[Any, int]:
        room = (ctypes.c_char * size)()
        memory[ctypes.addressof(room)] = room
        return Status.cudaSuccess, ctypes.addressof(room)

    def check(address: int, size: int) -> None:
        assert any(begin <= address and address + size <= begin + len(room) for begin, room in memory.items()), (
            "outside of what was allocated"
        )

    def copy(target: int, source: int, size: int, kind: str, stream: int) -> tuple[Any]:
        check(target if kind == "up" else source, size)
        ctypes.memmove(target, source, size)
        return (Status.cudaSuccess,)

    def copy_2d(
        target: int, target_pitch: int, source: int, source_pitch: int, width: int, rows: int, kind: str, stream: int
    ) -> tuple[Any]:
        assert kind == "across"
        assert width <= min(target_pitch, source_pitch)
        for row in range(rows):
            check(target + row * target_pitch, width)
            check(source + row * source_pitch, width)
            ctypes.memmove(target + row * target_pitch, source + row * source_pitch, width)
        return (Status.cudaSuccess,)

    def free(address: int) -> tuple[Any]:
        del memory[address]
        return (Status.cudaSuccess,)

    module = ModuleType("cuda.bindings.runtime")
    vars(module).update(
        cudaDeviceAttr=SimpleNamespace(
            cudaDevAttrComputeCapabilityMajor="major", cudaDevAttrComputeCapabilityMinor="minor"
        ),
        cudaMemcpyKind=SimpleNamespace(
            cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down", cudaMemcpyDeviceToDevice="across"
        ),
        cudaDeviceGetAttribute=attribute,
        cudaDriverGetVersion=lambda: (Status.cudaSuccess, driver),
        cudaStreamCreate=lambda: (Status.cudaSuccess, 1),
        cudaStreamSynchronize=lambda stream: (Status.cudaSuccess,),
        cudaMalloc=allocate,
        cudaFree=free,
        cudaMemcpyAsync=copy,
        cudaMemcpy2DAsync=copy_2d,
    )
    return module


class _Config:
    def __init__(self) -> None:
        self.flags: list[str] = []
        self.profiles: list[dict[str, Any]] = []
        self.cache = SimpleNamespace(serialize=lambda: b"timings")
        self.pools: dict[str, int] = {}

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> Any:
        return SimpleNamespace(data=data, serialize=lambda: data + b"timings")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> None:
        self.cache = cache

    def get_timing_cache(self) -> Any:
        return self.cache


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, least: Any, usual: Any, most: Any) -> None:
        self.shapes[name] = [list(least), list(usual), list(most)]


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.profile = engine, 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.places: dict[str, int] = {}

    def set_optimization_profile_async(self, index: int, stream: int) -> None:
        self.profile = index

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        least, _, most = self.engine.profiles[self.profile][name]
        assert all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True)), (
            "outside of the profile"
        )
        self.shapes[name] = tuple(shape)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.places[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes = {
            axis: size
            for value in self.engine.session.get_inputs()
            for axis, size in zip(value.shape, self.shapes[value.name], strict=True)
        }
        (shape,) = (output.shape for output in self.engine.session.get_outputs() if output.name == name)
        return tuple(sizes.get(axis, axis) for axis in shape)

    def execute_async_v3(self, stream: int) -> bool:
        feeds = {}
        for name, shape in self.shapes.items():
            kind = np.dtype(self.engine.get_tensor_dtype(name))
            room = (ctypes.c_char * int(np.prod(shape) * kind.itemsize)).from_address(self.places[name])
            feeds[name] = np.frombuffer(bytes(room), dtype=kind).reshape(shape)
        for output, values in zip(self.engine.session.get_outputs(), self.engine.session.run(None, feeds), strict=True):
            assert values.shape == self.get_tensor_shape(output.name), "not the shape that was said"
            data = np.ascontiguousarray(values + values.dtype.type(self.engine.wrong))
            ctypes.memmove(self.places[output.name], data.ctypes.data, data.nbytes)
        return True


def _without_weights(model: onnx.ModelProto) -> bytes:
    bare = onnx.ModelProto.FromString(model.SerializeToString())
    del bare.graph.initializer[:]
    return bare.SerializeToString()


class _Engine:
    def __init__(self, header: dict[str, Any], graph: bytes, *, room: bool) -> None:
        self.profiles, self.wrong, self.room = header["profiles"], header["wrong"], room
        self.bare = graph if header["stripped"] else b""  # it has no weights yet, and cannot run
        if not self.bare:
            self.fill(graph)

    def fill(self, graph: bytes) -> None:
        self.session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self.names = [value.name for value in (*self.session.get_inputs(), *self.session.get_outputs())]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in {value.name for value in self.session.get_inputs()} else "out"

    def get_tensor_dtype(self, name: str) -> str:
        (kind,) = (
            value.type for value in (*self.session.get_inputs(), *self.session.get_outputs()) if value.name == name
        )
        return {"tensor(int64)": "int64", "tensor(float)": "float32", "tensor(float16)": "float16"}[kind]

    def create_execution_context(self) -> _Context | None:
        return _Context(self) if self.room else None


def make_tensorrt(version: str = "10.3.0", *, wrong: float = 0.0, starts: bool = True, room: bool = True) -> ModuleType:
    """A `tensorrt`; `built` holds the configurations of its builds.

    Args:
        wrong: what its engines add to every output.
        starts: whether the driver is new enough for it.
        room: whether the GPU has memory for an engine's activations.
    """
    module = ModuleType("tensorrt")
    module.__spec__ = ModuleSpec("tensorrt", None)
    built: list[_Config] = []
    typed = (
        0 if int(version.split(".")[0]) >= 11 else 2
    )  # from 11 on every network is strongly typed, and no flag says so

    def start(log: Any) -> None:
        if not starts:
            log.log(Logger.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    class Logger:
        ERROR, INTERNAL_ERROR = "error", "internal"

    class Parser:
        num_errors = 0

        def __init__(self, network: Any, log: Any) -> None:
            self.network = network

        def parse_from_file(self, path: str) -> bool:
            model = onnx.load(path)
            self.network.graph = model.SerializeToString()
            self.network.inputs = [value.name for value in model.graph.input]
            self.network.num_inputs = len(self.network.inputs)
            self.network.get_input = lambda index: SimpleNamespace(name=self.network.inputs[index])
            return True

    class Builder:
        def __init__(self, log: Any) -> None:
            start(log)

        def create_network(self, flags: int) -> Any:
            assert flags == typed, "not strongly typed"
            return SimpleNamespace()

        def create_builder_config(self) -> _Config:
            return _Config()

        def create_optimization_profile(self) -> _Profile:
            return _Profile()

        def build_serialized_network(self, network: Any, config: _Config) -> bytes:
            built.append(config)
            config.progress_monitor.phase_start("build", None, 1)
            config.progress_monitor.step_complete("build", 0)
            stripped = "strip" in config.flags
            header = json.dumps(
                {"version": version, "profiles": config.profiles, "wrong": wrong, "stripped": stripped}
            ).encode()
            return (
                header
                + b"\n"
                + (_without_weights(onnx.ModelProto.FromString(network.graph)) if stripped else network.graph)
            )

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, log: Any) -> None:
            start(log)
            self.log = log

        def deserialize_cuda_engine(self, data: bytes) -> _Engine | None:
            header, _, graph = data.partition(b"\n")
            try:
                values = json.loads(header)
            except ValueError:
                self.log.log(Logger.ERROR, "the engine is not of a known format")
                return None
            return _Engine(values, graph, room=room)

    class Refitter:
        def __init__(self, engine: _Engine, log: Any) -> None:
            self.engine, self.given = engine, b""

        def refit_cuda_engine(self) -> bool:
            self.engine.fill(self.given)
            return True

    class ParserRefitter:
        def __init__(self, refitter: Refitter, log: Any) -> None:
            self.refitter, self.log = refitter, log

        def refit_from_file(self, path: str) -> bool:
            model = onnx.load(path)
            self.refitter.given = model.SerializeToString()
            fits = _without_weights(model) == self.refitter.engine.bare
            if not fits:
                self.log.log(Logger.ERROR, "the weights are of another network")
            return fits

    vars(module).update(
        __version__=version,
        built=built,
        ILogger=Logger,
        IProgressMonitor=object,
        Builder=Builder,
        OnnxParser=Parser,
        OnnxParserRefitter=ParserRefitter,
        Refitter=Refitter,
        Runtime=Runtime,
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1) if typed else SimpleNamespace(),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        BuilderFlag=SimpleNamespace(VERSION_COMPATIBLE="version-compatible", REFIT="refit", STRIP_PLAN="strip"),
        HardwareCompatibilityLevel=SimpleNamespace(AMPERE_PLUS="ampere-plus"),
        TensorIOMode=SimpleNamespace(INPUT="in"),
        nptype=np.dtype,
    )
    return module
