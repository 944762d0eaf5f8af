"""The library and the functions of its header, edgelm_native.h."""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path
from typing import Any

_NAMES = {"win32": "edgelm_native.dll", "darwin": "libedgelm_native.dylib"}
_VERSION = 1  # of the interface
_MESSAGE = 300  # bytes

_TEXT, _SIZE, _NUMBER, _PLACE = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p
_LONG = ctypes.c_int64
_FUNCTIONS = {
    "version": (_NUMBER, []),
    "instruction_sets": (_TEXT, []),
    "load": (_NUMBER, [_PLACE, _SIZE, _PLACE, _SIZE, _TEXT, ctypes.POINTER(_PLACE), _PLACE, _SIZE]),
    "free": (None, [_PLACE]),
    "set": (_TEXT, [_PLACE]),
    "outputs": (_NUMBER, [_PLACE]),
    "output": (_TEXT, [_PLACE, _NUMBER, ctypes.POINTER(_SIZE), ctypes.POINTER(_NUMBER)]),
    "run": (_NUMBER, [_PLACE, _PLACE, _PLACE, _PLACE, _SIZE, _SIZE, _NUMBER, _PLACE, _PLACE, _PLACE, _SIZE]),
    "tokenizer_load": (_NUMBER, [_TEXT, _SIZE, ctypes.POINTER(_PLACE), _PLACE, _SIZE]),
    "tokenizer_free": (None, [_PLACE]),
    "tokenizer_settings": (None, [_PLACE, ctypes.POINTER(_SIZE), *[ctypes.POINTER(_LONG)] * 2]),
    "tokenize": (_LONG, [_PLACE, _TEXT, _SIZE, _TEXT, _SIZE, _PLACE, _PLACE, _SIZE]),
}


class Library:
    """The functions of the library, under their names without `edgelm_native_`."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, f"edgelm_native_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)


class NativeError(ValueError):
    """A damaged file, or inputs that it cannot take; `code` as edgelm_native.h has it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def call(function: Any, *arguments: Any) -> None:
    """Call a function that ends with a place for a message and its size.

    Raises:
        NativeError: it gave another code than success.
    """
    message = ctypes.create_string_buffer(_MESSAGE)
    code = function(*arguments, message, _MESSAGE)
    if code:
        raise NativeError(code, message.value.decode(errors="replace"))


@functools.cache
def load_library() -> Library:
    """The library that lies beside this file.

    Raises:
        OSError: it is not there, does not load, or has another interface.
    """
    library = Library(Path(__file__).with_name(_NAMES.get(sys.platform, "libedgelm_native.so")))
    if (found := library.version()) != _VERSION:  # type: ignore[attr-defined]
        raise OSError(f"the library has interface {found}, and {_VERSION} is needed")
    return library
