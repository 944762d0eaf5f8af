"""What a manifest must be like beyond its JSON: types, ranges, and one entry a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from edgelm.errors import BundleError
from edgelm.field_types import check_types
from edgelm.limits import FILES
from edgelm.tasks.table import TASKS

_MOST_TOKENS = 1 << 24
_LARGEST_ID = 1 << 31

# Where a value stands, what it must be, and that in words.
_RANGES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("tokenization", "max_length"), lambda value: 1 <= value <= _MOST_TOKENS, "a length in tokens"),
    (("tokenization", "pad_id"), lambda value: 0 <= value < _LARGEST_ID, "a token"),
    (("tokenization", "pad_type_id"), lambda value: 0 <= value < _LARGEST_ID, "a token type"),
    (("schema",), lambda value: value >= 1, "a schema"),
)

# The same for the fields of tasks, whichever kind has them.
_TASK_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "stride": (lambda value: 0 <= value <= _MOST_TOKENS, "a number of tokens"),
    "max_answer_tokens": (lambda value: 1 <= value <= _MOST_TOKENS, "a number of tokens of at least one"),
    "top": (lambda value: 1 <= value <= _MOST_TOKENS, "a number of tokens of at least one"),
    "choices": (lambda value: 0 <= value <= _MOST_TOKENS, "a number of endings"),
    "context": (lambda value: 0 <= value <= _MOST_TOKENS, "a number of tokens"),
}


def check_manifest(kind: type, values: dict[str, Any]) -> None:
    """Refuse what no manifest of edgelm says.

    Args:
        kind: the dataclass that is made of the values.

    Raises:
        BundleError: a value of a wrong type or out of its range, by its place; a file that is listed twice.
    """
    check_types(kind, values, "manifest.json")
    for path, fits, words in _RANGES:
        value: Any = values
        for name in path:
            value = value.get(name) if value is not None else None
        if value is not None and not fits(value):
            _refuse(f"{': '.join(path)}: {value!r} is not {words}")
    task = values.get("task", {})
    if task.get("kind") not in list(TASKS):  # a list, since JSON may have put what cannot be looked up
        _refuse(f"task: kind: {task.get('kind')!r} is not one of {', '.join(TASKS)}")
    check_types(TASKS[task["kind"]], task, "manifest.json: task")
    for name, (fits, words) in _TASK_RANGES.items():
        if name in task and not fits(task[name]):
            _refuse(f"task: {name}: {task[name]!r} is not {words}")
    tags = task.get("labels", ())
    if task["kind"] == "token-classification" and not 0 < len(set(tags)) == len(tags):
        _refuse("task: labels: a word needs at least one tag to have, and each stands there once")
    if task.get("pair") and task.get("prompt"):
        _refuse("task: a prompt stands before single texts, not before pairs")
    FILES.check(len(values.get("files", ())), "manifest.json")
    seen: set[str] = set()
    for entry in values.get("files", ()):
        name = entry.get("path")
        if name in seen:
            _refuse(f"files: {name} is listed twice")
        if entry.get("size", 0) < 0 or not re.fullmatch("[0-9a-f]{64}", entry.get("sha256", "0" * 64)):
            _refuse(f"files: {name}: size and sha256 are not those of a file")
        seen.add(name)


def _refuse(what: str) -> None:
    raise BundleError(f"manifest.json: {what}.", hint="Copy or export the bundle again.")
