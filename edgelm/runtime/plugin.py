"""Execution providers in packages of their own: onnxruntime loads their library when it is asked to, and shows devices
that they run on."""

from __future__ import annotations

import functools
import importlib
from importlib.util import find_spec
from typing import Any

from edgelm.errors import ResourceError

# By the provider's name, the package's module; each says its own name and where its library lies.
PLUGINS = {"tensorrt-rtx": "onnxruntime_ep_nv_tensorrt_rtx", "openvino": "onnxruntime_ep_openvino"}


def find_devices(name: str) -> list[Any]:
    """The first device that a provider's plugin runs on here, as onnxruntime describes it; none where no plugin of it
    is installed.

    Raises:
        ResourceError: the plugin is installed, but does not load, or finds no device.
    """
    package = PLUGINS.get(name)
    if package is None or find_spec(package) is None:
        return []
    import onnxruntime

    try:
        provider = _register(package)
        devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == provider]
    except (
        Exception
    ) as error:  # onnxruntime's exceptions have no common base but Exception, and each package has its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ResourceError(
            f"{package} cannot be loaded: {reason[:200]}.",
            hint="Install what it asks for, or run with another --provider.",
        ) from error
    if not devices:
        raise ResourceError(f"{package} finds no device that it runs on.", hint="Run with another --provider.")
    return devices[:1]


@functools.cache  # onnxruntime takes a library once in a process
def _register(package: str) -> str:
    """Have onnxruntime load a plugin; the name of its provider."""
    import onnxruntime

    plugin = importlib.import_module(package)
    onnxruntime.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())
    return str(plugin.get_ep_name())
