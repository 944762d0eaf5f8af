"""A tokenizer for edgelm-native: tokenizer.json as the compact file that its C++ reads (`native.tokenizer`)."""

from edgelm.bundles.native_tokenizer.compile import compile_tokenizer
from edgelm.bundles.native_tokenizer.fields import UnknownTokenizer

__all__ = ["UnknownTokenizer", "compile_tokenizer"]
