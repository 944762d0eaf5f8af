"""Loads and runs a bundle: `edgelm.runtime.load(bundle)("text")`, with numpy, tokenizers and onnxruntime alone;
or edgelm-native in place of the last."""

from typing import TYPE_CHECKING, Any

from edgelm.runtime.bundle import Bundle, open_bundle
from edgelm.runtime.loading import load
from edgelm.runtime.manifest import Manifest

if TYPE_CHECKING:
    from edgelm.runtime.model import Model

__all__ = ["Bundle", "Manifest", "Model", "load", "open_bundle"]


def __getattr__(name: str) -> Any:
    """`Model` is imported when it is first asked for: who loads a model that writes needs nothing of it."""
    if name == "Model":
        from edgelm.runtime.model import Model

        return Model
    raise AttributeError(f"module 'edgelm.runtime' has no attribute {name!r}")
