"""GGUF files without their vocabulary: the readers of the packages gguf and transformers take each entry of a list
apart, ten seconds for 262,144 tokens, each time that a file is opened for its configuration or its weights."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgelm.files.scratch import open_scratch

_VERSIONS = (2, 3)  # whose sizes have 8 bytes; of a big-endian file the number is another
_TOKENS = "tokenizer.ggml.tokens"
_LISTS = {_TOKENS, "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"}
_UINT32, _STRING, _ARRAY, _TYPE, _SIZE = 4, 8, 9, "<I", "<Q"
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a scalar, by its type
_ALIGNMENT, _ALIGNED = "general.alignment", 32
_MOST_AXES = 8  # of a tensor
_LONGEST = 2**16  # bytes of a name
_COPIED = 2**30  # bytes of weights: to copy more takes longer than the lists do


@dataclass(frozen=True)
class _Header:
    """What stands before the weights.

    Attributes:
        entries: bytes of those that are kept, with their names.
        names: of all entries.
        architecture: of the model.
        tokens: of the vocabulary; 0: the file lists none.
        tensors: how many there are.
        places: bytes that say where they lie.
        alignment: of the weights.
        begin: of the weights in the file.
    """

    entries: list[bytes]
    names: set[str]
    architecture: str
    tokens: int
    tensors: int
    places: bytes
    alignment: int
    begin: int


@contextmanager
def without_vocabulary(file: Path, sized: frozenset[str], *, weights: bool) -> Iterator[Path]:
    """The same model in a file that lists no tokens, scores and merges, as long as the context lasts; a file that is
    not to be taken apart so is given as it is.

    Args:
        file: a GGUF file.
        sized: architectures whose number of tokens may stand in an entry of its own, which the file then has.
        weights: those are wanted too; else zeros of the same size, which take no room on a disk, are in their place.

    Raises:
        ValueError: the header is damaged: it says more of something than the file is long, which others would make
            room for.
    """
    taken_whole = weights and file.stat().st_size > _COPIED
    header = None if taken_whole else _read(file)
    if header is None and not taken_whole:
        raise ValueError("its header is damaged, or of a version that is not read")
    if header is None or not header.tokens or header.architecture not in sized:
        yield file
        return
    with open_scratch() as folder:
        slim = folder / file.name
        with file.open("rb") as source, slim.open("wb") as target:
            target.write(_written(header))
            target.write(b"\0" * (-target.tell() % header.alignment))
            source.seek(header.begin)
            if weights:
                shutil.copyfileobj(source, target, 1 << 24)
            else:
                target.truncate(target.tell() + max(0, file.stat().st_size - header.begin))
        yield slim


def _read(file: Path) -> _Header | None:
    """A file's header; None where it is broken, or laid out in another way."""
    with file.open("rb") as stream:
        try:
            return _parse(stream, file.stat().st_size)
        except (struct.error, KeyError, ValueError, OverflowError, OSError):  # a number that is none, read as a length
            return None


def _parse(stream: BinaryIO, size: int) -> _Header | None:
    stream.seek(4)
    if _number(stream, _TYPE) not in _VERSIONS:
        return None
    tensors, count = _number(stream, _SIZE), _number(stream, _SIZE)
    entries, names, architecture, tokens, alignment = [], set[str](), "", 0, _ALIGNED
    for _ in range(count):
        begin = stream.tell()
        name = _string(stream)
        kind = _number(stream, _TYPE)
        value = stream.tell()
        length = _pass(stream, kind)
        end = stream.tell()
        if end > size:
            return None
        names.add(name)
        stream.seek(value)
        if name == "general.architecture":
            architecture = _string(stream)
        elif name == _ALIGNMENT:
            alignment = _number(stream, _TYPE)
        elif name == _TOKENS:
            tokens = length
        if name not in _LISTS:
            stream.seek(begin)
            entries.append(stream.read(end - begin))
        stream.seek(end)
    begin = stream.tell()
    for _ in range(tensors):
        _string(stream)
        axes = _number(stream, _TYPE)
        if axes > _MOST_AXES:
            return None
        stream.seek(8 * axes + 12, 1)
    end = stream.tell()
    if end > size or not 0 < alignment <= _LONGEST:
        return None
    stream.seek(begin)
    places = stream.read(end - begin)
    return _Header(entries, names, architecture, tokens, tensors, places, alignment, end + -end % alignment)


def _written(header: _Header) -> bytes:
    """A header without the lists, which says how many tokens there are."""
    entries = list(header.entries)
    size = f"{header.architecture}.vocab_size"
    if size not in header.names:
        name = size.encode()
        entries.append(struct.pack(_SIZE, len(name)) + name + struct.pack("<II", _UINT32, header.tokens))
    start = b"GGUF" + struct.pack("<IQQ", _VERSIONS[-1], header.tensors, len(entries))
    return b"".join([start, *entries, header.places])


def _pass(stream: BinaryIO, kind: int) -> int:
    """Go behind a value; how many a list holds, 1 of others."""
    if kind == _STRING:
        stream.seek(_number(stream, _SIZE), 1)
        return 1
    if kind != _ARRAY:
        stream.seek(_WIDTHS[kind], 1)
        return 1
    inner, length = _number(stream, _TYPE), _number(stream, _SIZE)
    if inner in _WIDTHS:
        stream.seek(_WIDTHS[inner] * length, 1)
    else:
        for _ in range(length):
            _pass(stream, inner)
    return length


def _number(stream: BinaryIO, layout: str) -> int:
    (found,) = struct.unpack(layout, stream.read(struct.calcsize(layout)))
    return int(found)


def _string(stream: BinaryIO) -> str:
    length = _number(stream, _SIZE)
    if length > _LONGEST:
        raise ValueError("no name is so long")
    return stream.read(length).decode()
