"""Gives back memory that a session needed while it was made: a mapped file's pages, and what the allocator kept.

onnxruntime copies matrices into the layout of its kernels and leaves the file mapped: as long as its pages stay with
the process, each weight is there twice. Linux alone says what is mapped where; elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from pathlib import Path

import numpy as np

_MAPS, _PAGES = Path("/proc/self/maps"), Path("/proc/self/pagemap")
_DONT_NEED = 4  # MADV_DONTNEED of Linux
_RANGE = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) ")
_HELD = np.uint64(0b11 << 62)  # of a page's entry: in memory, or swapped out
_OF_FILE = np.uint64(1 << 61)  # of its file, or shared: not a changed copy


def release_pages(file: Path) -> int:
    """Let go of the pages of a file that is mapped into this process, where none of them was changed: who reads there
    has them read from the file again. How many bytes of addresses that are; 0 where the system cannot do it."""
    released = 0
    try:
        library = ctypes.CDLL(None)
        advise = library.madvise
        for begin, end in _unchanged(str(file.resolve()).encode()):
            if not advise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _DONT_NEED):
                released += end - begin
        library.malloc_trim(0)
    except (OSError, AttributeError, TypeError):  # no Linux, or another C library than glibc
        pass
    return released


def _unchanged(name: bytes) -> list[tuple[int, int]]:
    """Where a file is mapped and no page was written to, which would be lost.

    Raises:
        OSError: the system does not say.
    """
    found = []
    with _PAGES.open("rb", buffering=0) as pages:
        for line in _MAPS.read_bytes().split(b"\n"):
            match = _RANGE.match(line)
            if match is None or not line.endswith(b" " + name):
                continue
            begin, end = int(match[1], 16), int(match[2], 16)
            pages.seek(begin // mmap.PAGESIZE * 8)
            states = np.frombuffer(pages.read((end - begin) // mmap.PAGESIZE * 8), dtype=np.uint64)
            held = states[(states & _HELD) != 0]
            if len(states) and np.all(held & _OF_FILE):
                found.append((begin, end))
    return found
