"""SHA-256 of files, read piece by piece, and in a thread while something else is loaded."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

_CHUNK = 1 << 24  # bytes: a thread waits for Python's lock twice a piece, up to 5 ms each time


def hash_file(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal; one buffer holds each piece in turn."""
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as stream:
        buffer = memoryview(bytearray(min(_CHUNK, 1 + os.fstat(stream.fileno()).st_size)))
        while size := stream.readinto(buffer):
            digest.update(buffer[:size])
    return digest.hexdigest()


class EarlyHash:
    """The hash of a file, begun when this is made: Python computes it beside other work."""

    def __init__(self, file: Path) -> None:
        self._found: str | OSError = ""
        self._thread = threading.Thread(target=self._run, args=(file,), daemon=True)
        self._thread.start()

    def result(self) -> str:
        """The hash, once it is there.

        Raises:
            OSError: the file cannot be read.
        """
        self._thread.join()
        if isinstance(self._found, OSError):
            raise self._found
        return self._found

    def _run(self, file: Path) -> None:
        try:
            self._found = hash_file(file)
        except OSError as error:
            self._found = error
