"""Damages valid inputs step by step, and holds a door to its promise: a result or an error in words, soon, in little
memory."""

from __future__ import annotations

import copy
import json
import resource
import time
import warnings
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from edgelm.errors import EdgelmError

SECONDS = 10.0  # of a processor
MEGABYTES = 1000
USUAL, MANY = 5_000, 200_000
DOORS = 26  # the shares of all tests together


class Raw:
    """Text that stands in JSON as it is."""

    def __init__(self, text: str) -> None:
        self.text = text


ODD: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 0.5, -0.0, 1e308, 2**31, 2**32, 2**53, 2**63, 2**64, 10**30, 10**400),
    *(Raw("1" * 5000), Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e999")),
    *("", "x", " ", "\ud800", "\x00", "\x1b[2J", "\u202e", "²", "1e5", "0x10", "nan", "None", "a" * 300, "a" * 100_000),
    *("/etc/passwd", "../x", "C:\\x", "https://127.0.0.1:9/x", "{{x}}", "%s", "2001-99-99"),
    *([], {}, [[]], [None], [""], {"a": 1}, {"": None}, [0] * 1000, list(range(50)), {str(n): n for n in range(50)}),
    *(Raw("[" * 5000 + "]" * 5000), Raw('{"a":' * 3000 + "1" + "}" * 3000)),
]
_ACTIONS = ("put", "put", "put", "delete", "repeat", "swap", "rename", "copy")
_PIECES = [
    b"",
    b"\x00",
    b"\xff",
    b"\xff\xfe",
    b"\n",
    b"\r",
    b"\t",
    b'"',
    b"'",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\\",
]
_PIECES += [b"\x1b[2J", b"\xed\xa0\x80", b"PK\x05\x06", b"9" * 40, b"\xff" * 8, b"\x80" * 12, b"&a [*a, *a]", b"- " * 9]
_PIECES += [b"<<: *a", b"!!python/object:os.system", b"2001-99-99", b"? [x]\n: y", b"\x7f" * 9, b"\x00" * 64]

_number = st.integers(0, 1 << 30)
_moves = st.lists(st.tuples(_number, st.sampled_from(_ACTIONS), _number), min_size=1, max_size=3)
_cuts = st.lists(
    st.tuples(_number, st.sampled_from(("flip", "put", "cut", "drop", "twice", "set")), _number), max_size=4
)


def damaged_values(values: Any) -> st.SearchStrategy[Any]:
    """JSON-ready values with up to three of them changed; see `text_of`."""
    return _moves.map(lambda moves: _change(values, moves))


def damaged_json(values: Any) -> st.SearchStrategy[bytes]:
    """The text of damaged values, sometimes with damaged bytes too."""
    return st.one_of(damaged_values(values).map(text_of), damaged_bytes(text_of(values)))


def damaged_bytes(data: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with up to four places changed."""
    return _cuts.map(lambda cuts: _cut(data, cuts))


def text_of(values: Any) -> bytes:
    """JSON, with what is `Raw` as it is."""
    kept: list[str] = []

    def mark(value: Any) -> str:
        kept.append(value.text)
        return f"@@{len(kept) - 1}@@"

    text = json.dumps(values, default=mark)
    for place, raw in enumerate(kept):
        text = text.replace(f'"@@{place}@@"', raw)
    return text.encode()


def _places(values: Any) -> list[tuple[Any, Any]]:
    """Every container in values with each of its keys."""
    found: list[tuple[Any, Any]] = []
    todo = [values]
    while todo:
        part = todo.pop()
        keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        for key in keys:
            found.append((part, key))
            todo.append(part[key])
    return found


def _change(values: Any, moves: list[tuple[int, str, int]]) -> Any:
    values = json.loads(json.dumps(values))
    for place, action, number in moves:
        places = _places(values)
        if not places:
            return copy.deepcopy(ODD[number % len(ODD)])
        part, key = places[place % len(places)]
        other, there = places[number % len(places)]
        if action == "put":
            part[key] = copy.deepcopy(ODD[number % len(ODD)])
        elif action == "delete":
            del part[key]
        elif action == "repeat" and isinstance(part, list):
            part.extend([part[key]] * (number % 8))
        elif action == "rename" and isinstance(part, dict):
            part[("x", "", "\x1b", "kind", "path")[number % 5]] = part.pop(key)
        else:
            part[key] = copy.deepcopy(other[there]) if number % 2 else []
    return values


def _cut(data: bytes, cuts: list[tuple[int, str, int]]) -> bytes:
    changed = bytearray(data)
    for place, action, number in cuts:
        at = place % (len(changed) + 1)
        if action == "flip" and at < len(changed):
            changed[at] ^= 1 << number % 8
        elif action == "set" and at < len(changed):
            changed[at] = number % 256
        elif action == "put":
            changed[at:at] = _PIECES[number % len(_PIECES)]
        elif action == "cut":
            del changed[at:]
        elif action == "drop":
            del changed[at : at + number % 50]
        else:
            changed[at:at] = changed[at : at + number % 200]
    return bytes(changed)


def inputs(request: Any, share: float = 1.0) -> settings:
    """How many inputs a door is given: its share of 5,000, or with `-m fuzz` of 200,000.

    The usual run has the same ones each time; the other has new ones.
    """
    many = request.config.getoption("markexpr") == "fuzz"
    return settings(
        max_examples=max(1, round((MANY if many else USUAL) * share / DOORS)),
        derandomize=not many,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # what is found is a few steps from a valid input already
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def hold(door: Callable[[], Any]) -> Any:
    """Go through a door; what it gives, or the edgelm error that it refuses with.

    Any other exception goes on, and a door that takes long or much memory is an error of its own.
    """
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = door()
        except EdgelmError as error:
            str(error).encode()  # it can be printed
            found = error
    spent = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert spent < SECONDS, f"{spent:.1f} s"
    assert grown < MEGABYTES, f"{grown:.0f} MB"
    return found
