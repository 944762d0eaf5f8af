"""Reads the JSON of requests, and writes that of responses."""

from __future__ import annotations

import json
from typing import Any

JSON_TYPE = "application/json"


def dump(value: Any) -> bytes:
    """JSON in ASCII: half of a surrogate pair, which a client may have sent, is none that UTF-8 could write."""
    return _ENCODER.encode(value).encode("ascii")


def parse(data: bytes) -> Any:
    """The value that bytes of JSON have.

    Raises:
        ValueError: they are none, in a line; NaN and Infinity are none.
    """
    try:
        return _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(parse_constant=_refuse)
