"""INT8 encoders of edgelm bundles without onnxruntime: the Python side of the library, by ctypes."""

from edgelm_native.encoder import Encoder, NativeError, instruction_sets

__version__ = "0.1.0"
__all__ = ["Encoder", "NativeError", "instruction_sets"]
