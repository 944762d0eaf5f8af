"""INT8 encoders of edgelm bundles without onnxruntime, and their tokenizers: the Python side of the library, by
ctypes."""

from edgelm_native.encoder import Encoder, instruction_sets
from edgelm_native.library import NativeError
from edgelm_native.tokenizer import Tokenizer, UnknownText

__version__ = "0.1.0"
__all__ = ["Encoder", "NativeError", "Tokenizer", "UnknownText", "instruction_sets"]
