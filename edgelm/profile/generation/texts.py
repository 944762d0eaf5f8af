"""What models that write know of texts, side by side: perplexity by file and by position, and what they write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.data.dataset import Dataset
from edgelm.errors import DataError
from edgelm.files.places import told_place
from edgelm.profile.generation.text_models import TextModel, open_text_model
from edgelm.profile.subject import JUDGED, Subject, find_subject
from edgelm.progress import Progress, silent

WINDOW = 512  # tokens of a window, or fewer where a subject reads no more
_WINDOWS, _TARGETS = 16, 64  # of each file at most: windows of texts, targets of sources
_EXAMPLES, _PROMPT, _WRITTEN = 3, 24, 48  # of all files; words that a text's prompt takes of it; tokens behind it
_CHARACTERS = 8  # of a token, at most as a rule: what is behind is not even cut into tokens
_FIRST_BUCKET = 16  # positions; each further bucket ends at twice as many


@dataclass(frozen=True)
class FileLoss:
    """How well each subject knows one file.

    Attributes:
        source: of the texts.
        tokens: that were judged, by subject; they differ where the vocabularies do.
        perplexity: of a token, by subject.
        bits_per_byte: of the text in UTF-8, by subject: to be compared whatever the vocabularies are.
    """

    source: str
    tokens: tuple[int, ...]
    perplexity: tuple[float, ...]
    bits_per_byte: tuple[float, ...]


@dataclass(frozen=True)
class PositionLoss:
    """How well each subject knows the tokens at some positions of a window, or of a target.

    Attributes:
        first, last: positions, counted from 1.
        tokens, perplexity: by subject; a perplexity of None: no window is so long.
    """

    first: int
    last: int
    tokens: tuple[int, ...]
    perplexity: tuple[float | None, ...]


@dataclass(frozen=True)
class Example:
    """What each subject writes behind one prompt.

    Attributes:
        prompt, source: what was given, and where it is from.
        texts: what was written, by subject.
        same: by subject, how many characters of that, up to the end of a token, are as the last subject wrote them.
    """

    prompt: str
    source: str
    texts: tuple[str, ...]
    same: tuple[int, ...]


@dataclass(frozen=True)
class TextComparison:
    """Subjects on the same texts; the last is what others are compared with.

    Attributes:
        subjects: their names, in the order of all figures.
        window: tokens that were read at once, at most.
        same_tokens: whether the texts are the same ids to all, so that perplexities of a token can be compared.
        files, positions, examples: what was found.
    """

    subjects: tuple[str, ...]
    window: int
    same_tokens: bool
    files: tuple[FileLoss, ...]
    positions: tuple[PositionLoss, ...]
    examples: tuple[Example, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class _Judged:
    """Of one subject and file: for each sequence the losses of its tokens; bytes and ids of all; what it wrote."""

    losses: list[np.ndarray]
    bytes: int
    ids: list[list[int]]
    written: list[tuple[str, list[str]]]  # the text, and how it grows token by token


def compare_texts(
    subjects: Sequence[str | Path | Subject],
    files: Sequence[Dataset],
    *,
    threads: int | None = None,
    progress: Progress = silent,
) -> TextComparison:
    """Judge subjects on texts, and let them write behind some; each is loaded once, one after the other.

    Texts are put behind each other and cut into windows, up to 16 of 512 tokens of each file; prompts with completions
    stand alone. Encoder-decoders are judged on up to 64 targets of each file. Three prompts are taken from the first
    rows, from each file in turn; what is written is greedy, 48 tokens at most.

    Args:
        subjects: bundles and checkpoints; others are left out. The last is what others are compared with.
        files: rows of the schema that the first subject's task has, each with its source.

    Raises:
        DataError: conversations, or a file that has too little text.
        EdgelmError: a subject cannot be loaded.
    """
    found = [entry if isinstance(entry, Subject) else find_subject(entry) for entry in subjects]
    found = [subject for subject in found if subject.kind in JUDGED]
    window = min([WINDOW, *(subject.longest for subject in found if subject.longest)])
    prompts = _prompts(files, sources=found[0].reads_sources)
    judged: list[list[_Judged]] = []
    for number, subject in enumerate(found):
        model = open_text_model(subject, threads=threads)
        judged.append([_judge(model, rows, window, prompts[place]) for place, rows in enumerate(files)])
        progress("texts", number + 1, len(found))
    by_file = list(zip(*judged, strict=True))
    sources = [told_place(rows.source) for rows in files]
    losses = [FileLoss(source, *_figures(parts)) for source, parts in zip(sources, by_file, strict=True)]
    return TextComparison(
        tuple(subject.name for subject in found),
        window,
        all(part.ids == parts[-1].ids for parts in by_file for part in parts),
        tuple(losses),
        tuple(_positions([[loss for part in parts for loss in part.losses] for parts in judged])),
        tuple(_examples(prompts, sources, judged)),
    )


def _prompts(files: Sequence[Dataset], *, sources: bool) -> list[list[str]]:
    """Of each file, those that are written behind; none twice."""
    found: list[list[str]] = [[] for _ in files]
    longest = max(len(rows.texts) for rows in files)
    places = [(number, row) for row in range(longest) for number, rows in enumerate(files) if row < len(rows.texts)]
    for number, row in places:
        text = files[number].texts[row]
        if not isinstance(text, str):
            raise DataError(f"{files[number].source}: conversations; texts are judged.", hint="Give plain texts.")
        prompt = beginning(text, whole=sources or files[number].labels is not None)
        if sum(map(len, found)) < _EXAMPLES and prompt.strip() and not any(prompt in own for own in found):
            found[number].append(prompt)
    return found


def beginning(text: str, *, whole: bool) -> str:
    """What is written behind: a prompt or source as it is, of a plain text its first words."""
    return text if whole else " ".join(text.split()[:_PROMPT])


def _judge(model: TextModel, rows: Dataset, window: int, prompts: Sequence[str]) -> _Judged:
    sequences = _targets(model, rows, window) if model.reads_sources else _windows(model, rows, window)
    if not sequences:
        raise DataError(f"{rows.source}: too little text to judge by.", hint="Give more.")
    losses = [model.losses(ids, source) for ids, source in sequences]
    size = sum(
        len(model.decode(ids[len(ids) - len(part) :]).encode())
        for (ids, _), part in zip(sequences, losses, strict=True)
    )
    written = []
    for prompt in prompts:
        made = model.write(model.encode(model.task.prompted([prompt])[0])[-window:], _WRITTEN)
        written.append((model.decode(made), [model.decode(made[:count]) for count in range(len(made) + 1)]))
    return _Judged(losses, size, [ids for ids, _ in sequences], written)


def _windows(model: TextModel, rows: Dataset, window: int) -> list[tuple[list[int], None]]:
    """Sequences of a decoder: all texts behind each other, cut; or each prompt with its completion. The tokens that
    begin a text stand before each."""
    if rows.labels is None:
        texts = ["\n".join(rows.texts)[: _WINDOWS * window * _CHARACTERS]]
    else:
        texts = [prompt + (label or "") for prompt, label in zip(rows.texts, rows.labels, strict=True)]
    plain = model.encode("a", special=False)
    whole = model.encode("a")
    lead = whole[: whole.index(plain[0])] if plain and plain[0] in whole else []
    size = window - len(lead)
    streams = [model.encode(text, special=False) for text in texts]
    parts = [stream[start : start + size] for stream in streams for start in range(0, len(stream), size)]
    found: list[tuple[list[int], None]] = [(lead + part, None) for part in parts if len(lead) + len(part) > 1]
    return found[:_WINDOWS]


def _targets(model: TextModel, rows: Dataset, window: int) -> list[tuple[list[int], list[int]]]:
    """The first reference of each row, for its source."""
    pairs = zip(rows.texts, rows.labels or (), strict=False)
    sources = [(model.task.prompted([text])[0], references[0]) for text, references in pairs if references]
    return [(model.encode(target)[:window], model.encode(text)[:window]) for text, target in sources[:_TARGETS]]


def _figures(parts: Sequence[_Judged]) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """Tokens, perplexity and bits a byte, each by subject."""
    joined = [np.concatenate(part.losses) for part in parts]
    bits = [loss.sum() / math.log(2) / max(1, part.bytes) for loss, part in zip(joined, parts, strict=True)]
    return tuple(map(len, joined)), tuple(_perplexity(loss) for loss in joined), tuple(map(float, bits))


def _perplexity(losses: np.ndarray) -> float:
    return float(np.exp(losses.mean()))


def _positions(losses: Sequence[Sequence[np.ndarray]]) -> list[PositionLoss]:
    """By buckets of positions, each twice as wide as all before it; of every subject its sequences' losses."""
    longest = max(len(loss) for own in losses for loss in own)
    found, first = [], 0
    last = _FIRST_BUCKET
    while first < longest:
        parts = [np.concatenate([loss[first:last] for loss in own]) for own in losses]
        figures = tuple(_perplexity(part) if len(part) else None for part in parts)
        found.append(PositionLoss(first + 1, min(last, longest), tuple(map(len, parts)), figures))
        first, last = last, 2 * last
    return found


def _examples(
    prompts: Sequence[Sequence[str]], sources: Sequence[str], judged: Sequence[Sequence[_Judged]]
) -> list[Example]:
    found = []
    for place, (own, source) in enumerate(zip(prompts, sources, strict=True)):
        for number, prompt in enumerate(own):
            written = [parts[place].written[number] for parts in judged]
            texts = tuple(text for text, _ in written)
            same = tuple(_alike(text, steps, texts[-1]) for text, steps in written)
            found.append(Example(prompt, source, texts, same))
    return found


def _alike(text: str, steps: Sequence[str], other: str) -> int:
    """Characters of a text, up to the end of a token, that another begins with; all of it where the two are equal."""
    if text == other:
        return len(text)
    return max(len(step) for step in steps if text.startswith(step) and other.startswith(step))
