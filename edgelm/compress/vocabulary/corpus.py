"""Files of texts and of words that a recipe names: read line by line, and known by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from edgelm.data.dataset import Dataset, load_dataset
from edgelm.data.encoding import all_texts
from edgelm.errors import DataError
from edgelm.lines import read_lines
from edgelm.recipe import Recipe, VocabularySettings

WRITTEN = ("prompts", "targets")


def read_texts(path: str | Path) -> Iterator[str]:
    """The texts of a file: the lines of a `.txt` file as they come, or the rows of any other, both texts of a pair.

    Raises:
        DataError: as `read_lines` and `load_dataset`.
    """
    yield from read_lines(path) if is_plain(path) else all_texts(read_rows(path, "text"))


def is_plain(path: str | Path) -> bool:
    """Whether a file is read line by line."""
    return Path(path).suffix.lower() == ".txt" or not Path(path).is_file()


def read_rows(path: str | Path, schema: str) -> Dataset:
    """The rows of a file of texts, or, for models that write, of prompts or targets, with what is written.

    Args:
        schema: of the model's task.

    Raises:
        DataError: as `load_dataset`.
    """
    if schema in WRITTEN:
        return load_dataset(path, need_labels=False, schema=schema)
    return load_dataset(path, need_labels=False, read="texts")


def read_words(keep: tuple[str, ...] | str) -> list[str]:
    """The words of a list, or those of a file with one a line; blank lines are nothing.

    Raises:
        DataError: the file is missing or not UTF-8.
    """
    if isinstance(keep, str) and not Path(keep).is_file():
        raise DataError(
            f"vocabulary.keep: {keep}: no such file.",
            hint="keep is a list of words, or a UTF-8 file with one word a line.",
        )
    lines = read_lines(keep) if isinstance(keep, str) else keep
    return [line.strip() for line in lines if line.strip()]


def recipe_files(recipe: Recipe, schema: str = "text") -> list[str]:
    """What tells apart the content of every file that a recipe's stages read words or texts from, in order.

    Args:
        schema: of the model's task.

    Raises:
        DataError: one of them cannot be used: known before the first expensive step.
    """
    found = []
    for settings in recipe.stages:
        if isinstance(settings, VocabularySettings):
            found += [_digest(iter(read_words(settings.keep)))]
            found += [_fingerprint(path, schema) for path in settings.corpora]
    return found


def _fingerprint(path: str, schema: str) -> str:
    if schema in WRITTEN and not is_plain(path):
        return read_rows(path, schema).fingerprint()
    return _digest(read_texts(path))


def _digest(lines: Iterator[str]) -> str:
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode() + b"\n")
    return total.hexdigest()
