"""Buffers that take turns: rows that are needed no longer leave their place to others, so that a program works in the
nearest caches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Buffer:
    """One row for each token, or for each sequence, of a kind that native/src/program.h names."""

    kind: str
    width: int
    per_token: int


def share_buffers(
    buffers: Mapping[str, Buffer], pinned: Collection[str], steps: Iterable[str]
) -> tuple[dict[str, str], list[Buffer]]:
    """Places for all buffers that steps use.

    A buffer is taken by the first step that names it and free after the last one. A step never finds what it reads
    where it writes.

    Args:
        buffers: by the words that name them in the steps.
        pinned: buffers with a place of their own.

    Returns:
        the place of each buffer by its name, a number as a word; and the places.
    """
    used = [[word for word in step.split() if word.startswith("@")] for step in steps]
    last = {name: index for index, names in enumerate(used) for name in names}
    places: list[Buffer] = []
    found: dict[str, int] = {}
    free: list[int] = []
    for index, names in enumerate(used):
        for name in dict.fromkeys(names):
            if name in found:
                continue
            buffer = buffers[name]
            fitting = [place for place in free if _alike(places[place], buffer)] if name not in pinned else []
            if fitting:
                found[name] = fitting[0]
                free.remove(fitting[0])
                places[fitting[0]] = replace(buffer, width=max(buffer.width, places[fitting[0]].width))
            else:
                found[name] = len(places)
                places.append(buffer)
        free += [found[name] for name in dict.fromkeys(names) if last[name] == index and name not in pinned]
    return {name: str(place) for name, place in found.items()}, places


def _alike(place: Buffer, buffer: Buffer) -> bool:
    return (place.kind, place.per_token) == (buffer.kind, buffer.per_token)
