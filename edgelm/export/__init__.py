"""Checkpoint to Bundle: graph, calibration, quantization, parity, and the folder that is shipped. Called, it is
`edgelm.export.pipeline.export`."""

from edgelm.callable_package import make_callable

make_callable(__name__)
