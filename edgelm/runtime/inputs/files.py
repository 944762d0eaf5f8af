"""Samples as people write them: on a command line, and in files with one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgelm.errors import DataError, UsageError
from edgelm.lines import read_lines, read_texts
from edgelm.runtime.inputs.samples import check_sample
from edgelm.tasks.task import Task
from edgelm.tasks.text import FillMask

_STRUCTURED = {  # kinds whose samples have parts, each with a line as JSON
    "question-answering": '{"question": "...", "context": "..."}',
    "multiple-choice": '{"text": "...", "choices": ["...", "..."]}',
}


def read_samples(task: Task, source: str | Path) -> Iterator[Any]:
    """The samples of a file that has one a line, or of the standard input for `-`.

    A line is a text; a tab separates the texts of a pair, a question and its text, or a text and its endings. For the
    last two a line may also be a JSON object: {"question", "context"} or {"text", "choices"}, whatever else is in it.

    Raises:
        DataError: no such file, bytes that are no text, or a line that is no sample of the task, with its number.
    """
    if task.kind not in _STRUCTURED:
        yield from read_texts(source, pairs=task.pair)
        return
    name = "standard input" if str(source) == "-" else source
    for number, line in enumerate(read_lines(source), start=1):
        try:
            yield parse_sample(task, line)
        except (UsageError, DataError) as error:
            raise DataError(
                f"{name}:{number}: {error.message}",
                hint=f"A line is {_STRUCTURED[task.kind]}, or has a tab between these.",
            ) from error


def parse_sample(task: Task, line: str) -> Any:
    """The sample that a line says, as `read_samples` describes it.

    Raises:
        DataError: it begins as JSON and is none; or as `check_sample`.
        UsageError: as `check_sample`.
    """
    if task.kind in _STRUCTURED and line.lstrip().startswith("{"):
        try:
            return check_sample(task, json.loads(line))
        except (ValueError, RecursionError) as error:
            raise DataError(f"not JSON ({error}).", hint=f"A line is {_STRUCTURED[task.kind]}.") from error
    if task.kind == "multiple-choice":
        text, *endings = line.split("\t")
        return check_sample(task, (text, tuple(endings)))
    return check_sample(task, tuple(line.split("\t", 1)) if task.pair and "\t" in line else line)


def example_words(task: Task) -> tuple[str, ...]:
    """What to type behind `edgelm run BUNDLE` to try a model of this task."""
    if task.kind == "question-answering":
        return ("Who wrote it?", "--pair", "It was written by Ada.")
    if task.kind == "multiple-choice":
        return ("some text", "an ending", "another ending")
    if isinstance(task, FillMask):
        return (f"some {task.mask_token} text",)
    return ("first text", "--pair", "second text") if task.pair else ("some text",)


def example_argument(task: Task) -> str:
    """What to type behind a bundle's `run.py`, where each argument is a line of a file, as a shell reads it."""
    if task.kind in _STRUCTURED:
        return f"'{_STRUCTURED[task.kind]}'"
    if isinstance(task, FillMask):
        return f"'some {task.mask_token} text'"
    return r"$'first text\tsecond text'" if task.pair else '"some text"'
