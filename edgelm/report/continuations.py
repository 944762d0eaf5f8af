"""What models that go on with texts write behind the same prompts, so that a report can compare them as answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgelm.data.dataset import Dataset
from edgelm.errors import DataError, UsageError
from edgelm.profile.generation.text_models import open_text_model
from edgelm.profile.generation.texts import beginning
from edgelm.profile.subject import JUDGED, Subject, find_subject
from edgelm.report.answers import Answerer

PROMPTS = 32  # of a file at most: a checkpoint takes about a second for each
WRITTEN = 48  # tokens behind a prompt


def prompts_of(rows: Dataset) -> Dataset:
    """The first prompts of rows, none twice: whole where rows have completions, else the first words of each text.

    Raises:
        DataError: conversations, or no text with a word in it.
    """
    kept: dict[str, int] = {}
    for number, text in enumerate(rows.texts):
        if not isinstance(text, str):
            raise DataError(f"{rows.source}: conversations; texts are compared.", hint="Give plain texts or prompts.")
        prompt = beginning(text, whole=rows.labels is not None)
        if prompt.strip() and len(kept) < PROMPTS:
            kept.setdefault(prompt, number)
    if not kept:
        raise DataError(f"{rows.source}: no text to go on with.", hint="Give a file of texts.")
    labels = None if rows.labels is None else tuple(rows.labels[number] for number in kept.values())
    return replace(rows, texts=tuple(kept), labels=labels)


def continuing(path: Path, progress: Callable[[int, int], None]) -> Answerer:
    """What writes the likeliest tokens behind prompts, 48 at most, whatever a model's own settings are: drawn ones
    would differ between two runs of one model.

    Args:
        path: a bundle, or a checkpoint, which PyTorch runs.

    Raises:
        UsageError: neither of the two, or a model that does not go on with texts.
        EdgelmError: it cannot be loaded.
    """
    subject = find_subject(path)
    if subject.kind not in JUDGED or not subject.generates or subject.reads_sources:
        raise UsageError(f"{path} is neither a bundle nor a checkpoint that goes on with texts.", hint="Give one.")
    return lambda prompts: _continue(subject, prompts, progress)


def _continue(subject: Subject, prompts: Sequence[Any], progress: Callable[[int, int], None]) -> list[dict[str, Any]]:
    model = open_text_model(subject, threads=None)
    longest = subject.longest or 2 * WRITTEN
    count = min(WRITTEN, longest // 2)
    found = []
    for number, prompt in enumerate(prompts, start=1):
        written = model.write(model.encode(prompt)[-(longest - count) :], count)
        found.append({"text": model.decode(written), "finish": "length" if len(written) == count else "stop"})
        progress(number, len(prompts))
    return found
