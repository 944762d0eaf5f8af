"""What a tokenizer that somebody else made must not do: fail in another way than by an error in words, or make a short
text so long that it fills the memory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from edgelm.errors import BundleError
from edgelm.runtime.manifest import TOKENIZER_FILE

_MOST_GROWTH = 64  # characters that one character, or one token, may become
_MOST_PIECES = 64  # of a template: special tokens and sequences around a text
_HINT = "Copy or export the bundle again."


@contextlib.contextmanager
def tokenizer_errors(what: str) -> Iterator[None]:
    """Translate what the tokenizers library raises: bare Exception and, where its Rust code panics, what is not even
    that.

    Args:
        what: cannot be done, for the message.

    Raises:
        BundleError: instead. A TypeError is the caller's: half of a surrogate pair is a str that UTF-8 does not have.
    """
    try:
        yield
    except (BundleError, TypeError, UnicodeEncodeError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BundleError(f"{TOKENIZER_FILE} {what}: {str(error)[:200]}.", hint=_HINT) from error


def check_growth(tokenizer: Any) -> None:
    """Refuse a tokenizer that makes texts many times longer, by what it puts in the place of characters and around
    texts.

    Raises:
        BundleError: it does, by the part that is too large.
    """
    for part in ("normalizer", "decoder"):
        _check(part, _growth(_state(getattr(tokenizer, part))), "times as many characters", _MOST_GROWTH)
    _check("post_processor", _pieces(_state(tokenizer.post_processor)), "pieces around a text", _MOST_PIECES)


def _check(part: str, found: int, noun: str, most: int) -> None:
    if found > most:
        raise BundleError(
            f"{TOKENIZER_FILE}: {part} makes {found:,} {noun}; at most {most} are let through.", hint=_HINT
        )


def _state(part: Any) -> Any:
    return None if part is None else json.loads(part.__getstate__())


def _growth(state: Any) -> int:
    """How many characters one may become: those of steps one after the other multiply."""
    found = 1
    for step in _steps(state):
        if step.get("type") == "Replace":
            found *= max(1, len(step.get("content", "")))
        elif step.get("type") == "Prepend":
            found *= max(1, len(step.get("prepend", "")))
    return found


def _pieces(state: Any) -> int:
    found = [0]
    for step in _steps(state):
        ids = [len(token.get("ids", ())) for token in (step.get("special_tokens") or {}).values()]
        found += [len(step.get(name) or ()) * max([1, *ids]) for name in ("single", "pair")]
    return max(found)


def _steps(state: Any) -> Iterator[dict[str, Any]]:
    """A part, or each of a sequence of them, whatever is in which."""
    todo = [state]
    while todo:
        step = todo.pop()
        if isinstance(step, list):
            todo += step
        elif isinstance(step, dict):
            yield step
            todo += [step[name] for name in ("normalizers", "decoders", "processors") if name in step]
