"""The language of a page: English stands in the code, what it is in another language in a catalogue beside it.

A catalogue is a file of this room, `languages/zh.json`, with English as its keys: flat JSON, which programs for
translators read and no step of the build has to compile. `words` holds what the code says, with the same placeholders
as there; `told` sentences that were written into a profile, a manifest or a JSON report, where language plays no part,
and that a page finds again by their form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from typing import Any

from edgelm.choices import Language

_SPOKEN: ContextVar[Language] = ContextVar("language of a page", default="en")
_PLACE = re.compile(r"\{(\w+)\}")


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Have all that is said inside the `with` block be said in a language."""
    token = _SPOKEN.set(language)
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def spoken() -> Language:
    """The language that is spoken here, as the `lang` of a page has it."""
    return _SPOKEN.get()


def tr(english: str, **values: Any) -> str:
    """A text in the language that is spoken here, with its placeholders filled in; English where the catalogue has
    none.

    Args:
        english: as `str.format` takes it, if there are values.
    """
    text = catalogue(spoken())["words"].get(english, english)
    return text.format(**values) if values else text


def tr_all(*english: str) -> list[str]:
    """Several texts without placeholders, such as the names of columns."""
    return [tr(text) for text in english]


def thread_words(count: int) -> str:
    """`2 threads`."""
    return tr("{count} thread", count=count) if count == 1 else tr("{count} threads", count=count)


def told(english: str) -> str:
    """A sentence that was written in English, in the language that is spoken here; as it is where the catalogue knows
    none of its form.

    Places of some names hold sentences themselves, which are said in the language too: `what` and `why`; `reasons`, of
    which there may be several; `sentence`, without which the form is not that of the text.
    """
    found = _told(english)
    return english if found is None else found


def _told(english: str) -> str | None:
    for form, text in _forms(spoken()):
        found = form.fullmatch(english)
        values = None if found is None else _said(found.groupdict())
        if values is not None:
            return text.format(**values)
    return None


def _said(places: dict[str, str]) -> dict[str, str] | None:
    """What stands in the places of a sentence, said in the language that is spoken here; None: one of them is no
    sentence that the catalogue knows."""
    said = dict(places)
    for name in places.keys() & {"what", "why"}:
        said[name] = told(places[name])
    if "reasons" in places:
        said["reasons"] = tr("; ").join(map(told, places["reasons"].split("; ")))
    if "sentence" in places:
        inner = _told(places["sentence"])
        return None if inner is None else said | {"sentence": inner}
    return said


@cache
def catalogue(language: Language) -> dict[str, dict[str, str]]:
    """The `words` and the `told` sentences of a language; of English nothing."""
    if language == "en":
        return {"words": {}, "told": {}}
    text = (files("edgelm.report") / "languages" / f"{language}.json").read_text(encoding="utf-8")
    values: dict[str, dict[str, str]] = json.loads(text)
    return values


@cache
def _forms(language: Language) -> list[tuple[re.Pattern[str], str]]:
    """Sentences that have places, as patterns, each with what it is in a language. The first of several places is as
    long as it can be, but for `place` and `what`, behind which sentences follow."""

    def pattern(found: re.Match[str]) -> str:
        return f"(?P<{found[1]}>.+{'?' if found[1] in ('place', 'what') else ''})"

    return [
        (re.compile(_PLACE.sub(pattern, re.escape(english).replace(r"\{", "{").replace(r"\}", "}")), re.DOTALL), text)
        for english, text in catalogue(language)["told"].items()
    ]
