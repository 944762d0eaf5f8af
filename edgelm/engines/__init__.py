"""TensorRT engines: how one is to be built, and building it, where the bundle is made or on the device."""

from edgelm.engines.pipeline import BuildResult, build

__all__ = ["BuildResult", "build"]
