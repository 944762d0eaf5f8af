"""TensorRT as a package: `tensorrt` (Jetson, desktop, data centre) and `tensorrt-rtx` (desktop RTX GPUs) share nearly
one API."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from edgelm.errors import MissingExtraError, ResourceError, UsageError, install_extra

MODULES = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
_OLDEST = {"tensorrt-rtx": (1, 0), "tensorrt": (10, 0)}  # with strongly typed networks: precisions are the graph's
_INSTALL = {
    "tensorrt-rtx": install_extra("tensorrt"),
    "tensorrt": "On a Jetson JetPack brings it; elsewhere: pip install tensorrt",
}


@dataclass(frozen=True)
class Backend:
    """One of the two packages, imported."""

    name: str
    module: Any

    @property
    def version(self) -> str:
        """Of the package."""
        return str(self.module.__version__)

    @property
    def rtx(self) -> bool:
        """Whether engines are built for GPUs that need not be here: it finishes them when they are loaded."""
        return self.name == "tensorrt-rtx"


def installed_backends() -> tuple[str, ...]:
    """Names of the packages that are here; nothing is imported."""
    return tuple(name for name, module in MODULES.items() if find_spec(module) is not None)


def load_backend(name: str) -> Backend:
    """Import a package.

    Raises:
        UsageError: no such package.
        MissingExtraError: it is not installed.
        ResourceError: it is, but cannot be loaded, or is too old.
    """
    if name not in MODULES:
        raise UsageError(f"there is no TensorRT package {name!r}.", hint=f"Packages: {', '.join(MODULES)}.")
    try:
        module = importlib.import_module(MODULES[name])
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the package {name} is missing; it builds and runs engines.", hint=_INSTALL[name]
        ) from error
    except (ImportError, OSError, RuntimeError) as error:  # its libraries do not fit this system
        raise ResourceError(
            f"{name} cannot be loaded: {str(error).splitlines()[0][:160]}", hint="Install the version for this system."
        ) from error
    backend = Backend(name, module)
    if tuple(int(part) for part in backend.version.split(".")[:2]) < _OLDEST[name]:
        wanted = ".".join(map(str, _OLDEST[name]))
        raise ResourceError(
            f"{name} {backend.version} is too old: engines need {wanted}.",
            hint="Update it (JetPack 6 brings 10.3), or run with --provider cuda.",
        )
    return backend


def start(maker: Callable[[Any], Any], log: Any, backend: Backend) -> Any:
    """A builder or a runtime, made by its class.

    Raises:
        ResourceError: CUDA does not start under it: a driver that is too old for the package, or no memory.
    """
    try:
        return maker(log)
    except (TypeError, RuntimeError) as error:  # the bindings raise TypeError where TensorRT gives them nothing
        raise ResourceError(
            f"{backend.name} {backend.version} does not start here: {last_error(log)}.",
            hint="Look whether the driver is new enough for it (`nvidia-smi`), or run with --provider cuda.",
        ) from error


def last_error(log: Any) -> str:
    """The first line of the last error that a logger was told of."""
    return log.errors[-1].strip().splitlines()[0][:200].rstrip(".") if log.errors else "it gives no reason"


def make_logger(module: Any) -> Any:
    """A logger of the package that keeps the errors it is told of, as `errors`, and prints nothing."""

    class Log(module.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()
