"""Loads and runs a bundle: `edgelm.runtime.load(bundle)("text")`, with numpy, tokenizers and onnxruntime alone."""

from edgelm.runtime.bundle import Bundle, open_bundle
from edgelm.runtime.loading import load
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.model import Model

__all__ = ["Bundle", "Manifest", "Model", "load", "open_bundle"]
