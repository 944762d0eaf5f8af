"""Files of texts and of words that a recipe names: read line by line, and known by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from edgelm.data.dataset import load_dataset
from edgelm.errors import DataError
from edgelm.lines import read_lines
from edgelm.recipe import Recipe, VocabularySettings


def read_texts(path: str | Path) -> Iterator[str]:
    """The texts of a file: the lines of a `.txt` file as they come, or the rows of any other, both texts of a pair.

    Raises:
        DataError: as `read_lines` and `load_dataset`.
    """
    if Path(path).suffix.lower() == ".txt" or not Path(path).is_file():
        yield from read_lines(path)
    else:
        rows = load_dataset(path, need_labels=False, read="texts")
        yield from rows.texts
        yield from rows.pairs or ()


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


def recipe_files(recipe: Recipe) -> list[str]:
    """SHA-256 of the texts in every file that a recipe's stages read words or texts from, in order.

    Raises:
        DataError: one of them cannot be used: known before the first expensive step.
    """
    found = []
    for settings in recipe.stages:
        if isinstance(settings, VocabularySettings):
            found += [_digest(iter(read_words(settings.keep)))] + [
                _digest(read_texts(path)) for path in settings.corpora
            ]
    return found


def _digest(lines: Iterator[str]) -> str:
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode() + b"\n")
    return total.hexdigest()
