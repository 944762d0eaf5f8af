"""An encoder that is ready to run."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelm_native.library import NativeError, call, load_library


def instruction_sets() -> list[str]:
    """Those that run here, best first; the last is plain C++, `reference`."""
    return str(_library().instruction_sets().decode()).split()


class Encoder:
    """A program with its weights.

    Args:
        program: the content of a bundle's `native.program`.
        weights: the content of its `weights.bin`, bytes or anything like them that lies in one piece, such as a file
            mapped into memory: it is kept, not copied.
        instruction_set: by its name; None: the best one here. All give the same bits.

    Raises:
        NativeError: a damaged program or weights of another size, or a set that does not run here.
    """

    def __init__(self, program: bytes, weights: Any, *, instruction_set: str | None = None) -> None:
        self._library = _library()
        self._model = ctypes.c_void_p()
        self._weights = np.frombuffer(weights, dtype=np.uint8)  # the library reads it as long as it lives
        name = None if instruction_set is None else instruction_set.encode()
        data = (self._weights.ctypes.data, self._weights.size)
        call(self._library.load, program, len(program), *data, name, ctypes.byref(self._model))
        self.outputs: dict[str, tuple[int, bool]] = dict(self._read_outputs())

    @property
    def instruction_set(self) -> str:
        """That it runs by."""
        return str(self._library.set(self._model).decode())

    def __call__(self, feeds: Mapping[str, np.ndarray], *, threads: int = 1) -> dict[str, np.ndarray]:
        """Run a batch.

        Args:
            feeds: `input_ids` and, where the program reads them, `attention_mask` (1 where a token is, 0 where padding)
                and `token_type_ids`, each (sequences, tokens), int64.
            threads: at most as many compute; the bits are the same for any number.

        Returns:
            each output by its name: (sequences, width), or (sequences, tokens, width), float32.

        Raises:
            NativeError: inputs that the program cannot take.
        """
        ids = _whole(feeds["input_ids"])
        batch, tokens = ids.shape
        others = [None if (found := feeds.get(name)) is None else _whole(found) for name in _OTHERS]
        if any(array is not None and array.shape != ids.shape for array in others):
            raise NativeError(2, "the inputs have unlike shapes")
        results = {
            name: np.empty((batch, tokens, width) if per_token else (batch, width), dtype=np.float32)
            for name, (width, per_token) in self.outputs.items()
        }
        places = (ctypes.c_void_p * len(results))(*(array.ctypes.data for array in results.values()))
        sizes = (ctypes.c_size_t * len(results))(*(array.size for array in results.values()))
        pointers = [None if array is None else array.ctypes.data for array in others]
        call(self._library.run, self._model, ids.ctypes.data, *pointers, batch, tokens, threads, places, sizes)
        return results

    def close(self) -> None:
        """Free its memory and end its threads."""
        if self._model:
            self._library.free(self._model)
            self._model = ctypes.c_void_p()

    def __del__(self) -> None:
        if hasattr(self, "_model"):
            self.close()

    def _read_outputs(self) -> list[tuple[str, tuple[int, bool]]]:
        found = []
        width, per_token = ctypes.c_size_t(), ctypes.c_int()
        for index in range(self._library.outputs(self._model)):
            name = self._library.output(self._model, index, ctypes.byref(width), ctypes.byref(per_token))
            found.append((name.decode(), (width.value, bool(per_token.value))))
        return found


_OTHERS = ("attention_mask", "token_type_ids")


def _whole(array: np.ndarray) -> np.ndarray:
    if array.ndim != 2:
        raise NativeError(2, f"an input has {array.ndim} axes, not 2")
    return np.ascontiguousarray(array, dtype=np.int64)


def _library() -> Any:
    return load_library()
