"""What a trace costs beside its work: translations are read for each graph anew, and garbage is looked for."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Inside, a trace takes a tenth to a fifth less; the graph is the same.

    The exporter parses the source of its 500 translations of operators for each graph: they are read once a process. A
    trace makes millions of small objects that live to its end: garbage is not looked for until then.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _translations_read_once():
            yield
    finally:
        if collecting:
            gc.enable()


@contextlib.contextmanager
def _translations_read_once() -> Iterator[None]:
    """A PyTorch that keeps its translations elsewhere reads them as it does."""
    try:
        place: Any = importlib.import_module("torch.onnx._internal.exporter._registration").onnxscript_apis
        read = place.get_torchlib_ops
    except (ImportError, AttributeError):
        yield
        return
    place.get_torchlib_ops = functools.partial(_read_once, read)
    try:
        yield
    finally:
        place.get_torchlib_ops = read


@functools.cache
def _read_once(read: Callable[[], list[Any]]) -> list[Any]:
    return read()
