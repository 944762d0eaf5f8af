"""Text as lines, wherever it comes from: decoded by its byte order mark, and cut at \\n, \\r\\n and \\r alone. And
texts of strangers as a terminal may have them.

Bundles carry this module, so that every program cuts the same file into the same texts.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from edgelm.errors import DataError

# What a terminal acts on: controls but for line ends and tabs, marks that turn the direction of writing round, and
# halves of surrogate pairs, which cannot be written at all.
_ACTING = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
_WIDE_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WIDE_NAMES = ("utf-32", "utf-32", "utf-16", "utf-16")


def plain_text(text: str) -> str:
    """A text of a stranger for a terminal: whatever that would act on stands there as its escape."""
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape", "backslashreplace").decode("ascii"), text)


def json_line(values: Any) -> str:
    """Values as one line of JSON: the same values to whoever reads it, and nothing that a terminal acts on."""
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(values, ensure_ascii=False))


def decode(data: bytes, source: str | Path) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 where a byte order mark says so; the mark itself is left out.

    Raises:
        DataError: a byte that does not belong to the encoding, with its line.
    """
    encoding = _wide(data) or "utf-8-sig"
    if encoding == "utf-8-sig" and data.count(0) * 4 > len(data) > 0:
        raise DataError(f"{source}: not UTF-8, since every other byte is zero.", hint=_convert(source, "utf-16le"))
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise DataError(
                f"{source}: not {encoding.upper()} at byte {error.start}, as its first bytes say.",
                hint=_convert(source, encoding),
            ) from error
        before = data[: error.start]
        line = before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
        raise DataError(
            f"{source}:{line}: not UTF-8 at byte {error.start} (0x{data[error.start]:02x}).",
            hint=_convert(source, "latin1"),
        ) from error


def split_lines(text: str) -> list[str]:
    """The lines of a text without their ends; an end after the last line begins no further one.

    Other characters that Unicode calls line breaks (U+2028, U+0085, form feed, vertical tab) belong to a line.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def read_lines(source: str | Path) -> Iterator[str]:
    """The lines of a file, or of the standard input for `-`, without holding them all.

    Raises:
        DataError: no such file, or bytes that are no text, with the line.
    """
    if str(source) == "-":
        yield from _lines(sys.stdin.buffer, "standard input")
        return
    try:
        stream = Path(source).open("rb")  # noqa: SIM115 - closed below; only opening it may say that it is missing
    except FileNotFoundError as error:
        raise DataError(
            f"{source}: no such file.", hint="Check the path; it is taken from where the command runs."
        ) from error
    except OSError as error:
        raise DataError(f"{source}: no file that can be read ({error.strerror}).", hint="Check the path.") from error
    with stream:
        yield from _lines(stream, source)


def read_texts(source: str | Path, *, pairs: bool) -> Iterator[str | tuple[str, str]]:
    """The texts of a file that has one a line, or of the standard input for `-`; the first tab of a line separates the
    two of a pair.

    Args:
        source: as `read_lines` takes it.
        pairs: whether the model reads two texts; otherwise a tab is part of the text.

    Raises:
        DataError: as `read_lines`; a line without a tab where there should be two texts.
    """
    for number, line in enumerate(read_lines(source), start=1):
        if pairs and "\t" not in line:
            name = "standard input" if str(source) == "-" else source
            raise DataError(
                f"{name}:{number}: one text, and this model reads pairs: {line!r:.60}.",
                hint="Put a tab between the two texts of each line.",
            )
        yield tuple(line.split("\t", 1)) if pairs else line  # type: ignore[misc]


def _lines(stream: BinaryIO, source: str | Path) -> Iterator[str]:
    number = 1
    for chunk in stream:  # ends at \n
        if number == 1 and _wide(chunk):
            yield from split_lines(decode(chunk + stream.read(), source))
            return
        try:
            text = chunk.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            line = number + chunk[: error.start].count(b"\r")
            raise DataError(
                f"{source}:{line}: not UTF-8 (0x{chunk[error.start]:02x}).", hint=_convert(source, "latin1")
            ) from error
        found = split_lines(text)
        number += len(found)
        yield from found


def _wide(data: bytes) -> str | None:
    return next((name for mark, name in zip(_WIDE_MARKS, _WIDE_NAMES, strict=True) if data.startswith(mark)), None)


def _convert(source: str | Path, encoding: str) -> str:
    return f"Convert it: iconv -f {encoding} -t utf-8 {source} > converted{Path(source).suffix}"
