"""How much a file of a stranger may ask of the machine that opens it, in one place: what passes a limit is refused
before it is read. Who needs more raises a limit by its environment variable.

Bundles carry this module.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from edgelm.errors import BundleError, EdgelmError, InputError, UsageError

P = ParamSpec("P")
T = TypeVar("T")

_MB = 1 << 20
# What a system says of names that are none: too long, in a loop of links, below or of something of another kind.
_NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        variable: of the environment, which sets another.
        usual: without it.
        noun: what is counted.
    """

    variable: str
    usual: int
    noun: str

    @property
    def most(self) -> int:
        """How much is let through here.

        Raises:
            UsageError: the variable holds no whole number of at least 1.
        """
        given = os.environ.get(self.variable)
        if given is None:
            return self.usual
        if not (given.isascii() and given.isdigit()) or not 0 < len(given) < 19 or int(given) < 1:
            raise UsageError(
                f"{self.variable} is {given[:40]!r}; it must be a whole number of at least 1.",
                hint=f"Leave it out: without it, {self.usual:,} {self.noun} are let through.",
            )
        return int(given)

    def check(self, found: int, about: str, *, error: type[InputError] = BundleError) -> None:
        """Refuse more than that.

        Args:
            about: what has so many, for the message.

        Raises:
            InputError: it is more; of the class `error`.
        """
        if found > self.most:
            raise error(
                f"{about} has {found:,} {self.noun}; up to {self.most:,} are read.",
                hint=f"Do not use this file if it comes from a stranger; {self.variable}={found} lets it through.",
            )


FILES = Limit("EDGELM_MAX_FILES", 10_000, "files")
MANIFEST_BYTES = Limit("EDGELM_MAX_MANIFEST", 16 * _MB, "bytes")
JSON_BYTES = Limit("EDGELM_MAX_JSON", 256 * _MB, "bytes of JSON")
JSON_LISTS = Limit("EDGELM_MAX_JSON_LISTS", 1_000_000, "lists and objects")
JSON_VALUES = Limit("EDGELM_MAX_JSON_VALUES", 10_000_000, "values")
RATIO = Limit("EDGELM_MAX_RATIO", 100, "bytes for each compressed one")
NODES = Limit("EDGELM_MAX_NODES", 200_000, "nodes and tensors")
ELEMENTS = Limit("EDGELM_MAX_ELEMENTS", 1 << 27, "elements in a tensor that its constants ask for")
LIMITS = (FILES, MANIFEST_BYTES, JSON_BYTES, JSON_LISTS, JSON_VALUES, RATIO, NODES, ELEMENTS)

_LEAST_FOR_RATIO = 64 * _MB  # what is shorter harms nobody, however much it was compressed


def read_json(data: bytes | str, about: str, *, error: type[InputError] = BundleError) -> Any:
    """The values of a JSON file that would not fill the memory.

    Raises:
        InputError: too long, or too many values; of the class `error`.
        ValueError: no JSON, too deep, or text that is no Unicode.
    """
    data = data.encode() if isinstance(data, str) else data
    JSON_BYTES.check(len(data), about, error=error)
    JSON_LISTS.check(data.count(b"[") + data.count(b"{"), about, error=error)
    JSON_VALUES.check(data.count(b","), about, error=error)
    try:
        values = json.loads(data.decode("utf-8-sig"))  # of bytes, json takes halves of surrogate pairs as they are
        if b"\\ud" in data or b"\\uD" in data:  # half of a surrogate pair is no text, and cannot be printed
            json.dumps(values, ensure_ascii=False).encode()
    except RecursionError as deep:
        raise ValueError("nested too deeply") from deep
    return values


def check_ratio(size: int, compressed: int, about: str) -> None:
    """Refuse what a small file would become.

    Raises:
        BundleError: it grows to more than `RATIO` times its size.
    """
    if size > _LEAST_FOR_RATIO:
        RATIO.check(size // max(compressed, 1), about)


@contextlib.contextmanager
def reading(about: object, error: type[InputError], hint: str) -> Iterator[None]:
    """Around what reads a file of a stranger: what its values make go wrong is said of the file.

    Args:
        about: the file.

    Raises:
        InputError: of the class `error`, in the place of what is raised by values that nobody foresaw.
    """
    try:
        yield
    except EdgelmError:
        raise
    except OSError as found:
        if found.errno not in _NO_NAME:
            raise
        raise error(f"{str(about)[:200]}: names a file that cannot be: {found.strerror}.", hint=hint) from found
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as found:
        reason = " ".join(str(found).split())[:160] or type(found).__name__
        raise error(f"{str(about)[:200]}: cannot be used: {reason}.", hint=hint) from found


def door(error: type[InputError], hint: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A function that reads what its first argument names, with `reading` around it."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def read(*args: P.args, **kwargs: P.kwargs) -> T:
            with reading(args[0] if args else next(iter(kwargs.values()), ""), error, hint):
                return function(*args, **kwargs)

        return read

    return decorate


@contextlib.contextmanager
def memory_errors(about: str) -> Iterator[None]:
    """Translate an allocation that the machine refuses.

    Raises:
        BundleError: instead of the MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        raise BundleError(
            f"{about} needs more memory than there is here ({error or 'nothing is left'}).",
            hint="Do not use this bundle if it comes from a stranger; else run it on a larger machine.",
        ) from error
