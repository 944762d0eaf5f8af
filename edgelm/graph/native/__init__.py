"""The INT8 graph of an encoder as a program for edgelm-native, the library that runs such encoders without
onnxruntime."""

from edgelm.graph.native.compile import compile_program

__all__ = ["compile_program"]
