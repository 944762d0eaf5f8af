"""A tokenizer that is ready to read texts."""

from __future__ import annotations

import ctypes
import threading

import numpy as np

from edgelm_native.library import NativeError, call, load_library

_UNKNOWN = 4  # code


class _Room(threading.local):
    """Where the library writes: each thread has its own, made once, for making one takes longer than most texts."""

    def __init__(self, longest: int) -> None:
        self.values = np.empty((2, longest), dtype=np.int64)
        self.ids, self.types = (row.ctypes.data for row in self.values)


class UnknownText(NativeError):
    """A text with a character that versions of Unicode differ in: the tokenizers library must read it."""


class Tokenizer:
    """Texts to token ids: those of the tokenizers library, for any text that it reads at all. Threads may share it.

    Args:
        file: the content of a bundle's `native.tokenizer`.

    Attributes:
        longest: of a sequence, in tokens; longer ones are cut as edgelm's runtime cuts them.
        pad_id, pad_type: what fills up a batch behind shorter sequences.

    Raises:
        NativeError: it is damaged, or newer than the library.
        OSError: the library is not there, or does not load.
    """

    def __init__(self, file: bytes) -> None:
        self._library = load_library()
        self._tokenizer = ctypes.c_void_p()
        call(self._library.tokenizer_load, file, len(file), ctypes.byref(self._tokenizer))
        longest, pad_id, pad_type = ctypes.c_size_t(), ctypes.c_int64(), ctypes.c_int64()
        self._library.tokenizer_settings(
            self._tokenizer, ctypes.byref(longest), ctypes.byref(pad_id), ctypes.byref(pad_type)
        )
        self.longest, self.pad_id, self.pad_type = longest.value, pad_id.value, pad_type.value
        self._room = _Room(self.longest)

    def __call__(self, text: str, pair: str | None = None) -> np.ndarray:
        """Read a text, or a pair of texts.

        Returns:
            (2, tokens), int64: the ids, and the types, special tokens among them.

        Raises:
            UnknownText: it has a character that the library is not sure of.
            UnicodeEncodeError: it holds half of a surrogate pair.
        """
        first, room = text.encode(), self._room
        second, more = (None, 0) if pair is None else _with_size(pair)
        found = self._library.tokenize(
            self._tokenizer, first, len(first), second, more, room.ids, room.types, self.longest
        )
        if found >= 0:
            return room.values[:, :found].copy()
        if found == -_UNKNOWN:
            raise UnknownText(_UNKNOWN, "versions of Unicode differ in a character of it")
        raise NativeError(-found, "there is not enough memory")

    def close(self) -> None:
        """Free its memory."""
        if self._tokenizer:
            self._library.tokenizer_free(self._tokenizer)
            self._tokenizer = ctypes.c_void_p()

    def __del__(self) -> None:
        if hasattr(self, "_tokenizer"):
            self.close()


def _with_size(text: str) -> tuple[bytes, int]:
    encoded = text.encode()
    return encoded, len(encoded)
