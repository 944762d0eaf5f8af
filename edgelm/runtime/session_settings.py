"""The session settings that a manifest may hold: exactly those that `edgelm export` and `edgelm tune` write, and their
values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from edgelm.errors import BundleError

_Rule = Callable[[Any], bool]

_MOST_THREADS = 1024


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_thread_count(value: Any) -> bool:
    return (
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_THREADS
    )  # 0: as many as there are cores


def _is_list_of_optimizers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(name in ("SkipLayerNormFusion",) for name in value)


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w.+-]{1,40} [\w.-]{1,40}", value, flags=re.ASCII) is not None


# What each key may be. onnxruntime has keys that make it read any file of the system, or load a library: none of them
# is here.
_SETTINGS: dict[str, _Rule] = {
    "intra_op_num_threads": _is_thread_count,
    "arena": _is_switch,
    "parallel": _is_switch,
    "mapped": _is_switch,
    "disabled_optimizers": _is_list_of_optimizers,
    "optimized_by": _is_optimizer,
    "entries": lambda value: isinstance(value, dict),
    "tuned": lambda value: isinstance(value, dict),  # a record for people, which nothing reads
}
_ENTRIES: dict[str, tuple[str, ...]] = {
    "session.intra_op.allow_spinning": ("0", "1"),
    "session.disable_prepacking": ("0", "1"),
}


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse session settings that edgelm never writes.

    Raises:
        BundleError: a key or a value that is not in the tables above; the message names it.
    """
    for key, value in settings.items():
        if key not in _SETTINGS or not _SETTINGS[key](value):
            _refuse(key, value, known=key in _SETTINGS)
    for key, value in settings.get("entries", {}).items():
        if value not in _ENTRIES.get(key, ()):
            _refuse(f"entries: {key}", value, known=key in _ENTRIES)


def _refuse(key: str, value: Any, *, known: bool) -> None:
    what = f"session setting {key!r} has the value {repr(value)[:80]}" if known else f"unknown session setting {key!r}"
    raise BundleError(
        f"manifest.json: {what}; edgelm writes no such thing.",
        hint="Do not use this bundle if you did not change it yourself; get it from its maker again. `edgelm tune` "
        "finds settings.",
    )
