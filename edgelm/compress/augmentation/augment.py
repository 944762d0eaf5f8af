"""Further texts for small data sets: changed copies of the training rows, for the teacher to label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from edgelm.anatomy import find_checkpoint, load_masked_lm, load_tokenizer
from edgelm.compress.augmentation.masked_lm import WordPosition, fill_places
from edgelm.compress.augmentation.neighbours import WholeWords
from edgelm.compress.augmentation.words import Words, plain, split_words
from edgelm.data.dataset import Dataset, as_text
from edgelm.errors import RecipeError
from edgelm.progress import Progress, silent
from edgelm.recipe import AugmentSettings

_SHARES = {"noise": 0.1, "neighbours": 0.4, "masked-lm": 0.4}  # EDA's alpha (Wei and Zou 2019); TinyBERT's p_t


@dataclass(frozen=True)
class _Change:
    """A word that is to be replaced; `draw` in [0, 1) chooses among its candidates."""

    place: WordPosition
    draw: float


def augment(
    dataset: Dataset,
    settings: AugmentSettings,
    *,
    teacher: PreTrainedModel,
    tokenizer: Any,
    seed: int,
    progress: Progress = silent,
) -> Dataset:
    """Up to `settings.copies` changed texts for each row, without labels; what is equal to a row or to another copy is
    left out.

    Both texts of a pair are changed; of words that stand alone a text is made. The result depends on rows, settings,
    models and seed alone.

    Args:
        seed: used where the settings have none.

    Raises:
        RecipeError: texts with choices.
        ModelError: `settings.model` is no masked language model that can be loaded.
    """
    seed = seed if settings.seed is None else settings.seed
    share = settings.share or _SHARES[settings.method]
    if any(not isinstance(pair, str) for pair in dataset.pairs or ()):
        raise RecipeError(
            f"{dataset.source}: augment changes texts and pairs of texts, not texts with choices.",
            hint="Leave augment out of the recipe.",
        )
    texts = tuple(map(as_text, dataset.texts))
    sides = [texts] if dataset.pairs is None else [texts, dataset.pairs]
    replace = None if settings.method == "noise" else _replacer(settings, teacher, tokenizer, progress)
    changed: list[list[list[str]]] = []  # per side, per row, per copy
    for side, texts in enumerate(sides):
        words = split_words(texts, tokenizer if replace is None else replace.tokenizer)
        rows: list[Any] = []
        for row, found in enumerate(words):
            drawn = [np.random.default_rng((seed, side, row, copy)) for copy in range(settings.copies)]
            rows.append(
                [add_noise(found, share, rng) if replace is None else _draw(found, row, share, rng) for rng in drawn]
            )
            progress("augment", side * len(dataset) + row + 1, len(sides) * len(dataset))
        changed.append(rows if replace is None else replace(words, rows))
    return _fresh_rows(dataset, sides, changed, settings)


def add_noise(words: Words, share: float, rng: np.random.Generator) -> str:
    """Drop each word with this probability, but never all, and swap this share of the others, two by two, at least once
    (EDA)."""
    if not len(words):
        return plain(words.text)
    kept = np.flatnonzero(rng.random(len(words)) >= share)
    if not len(kept):
        kept = rng.integers(len(words), size=1)
    order = kept.copy()
    for _ in range(max(1, round(share * len(kept)))):
        first, second = rng.integers(len(order), size=2)
        order[[first, second]] = order[[second, first]]
    result: list[str | None] = [None] * len(words)
    for place, source in zip(kept.tolist(), order.tolist(), strict=True):
        result[place] = words[source]
    return words.with_words(result)


def _draw(words: Words, row: int, share: float, rng: np.random.Generator) -> list[_Change]:
    """Each word with this probability, at least one."""
    if not len(words):
        return []
    chosen = np.flatnonzero(rng.random(len(words)) < share)
    if not len(chosen):
        chosen = rng.integers(len(words), size=1)
    return [
        _Change(WordPosition(row, word), draw)
        for word, draw in zip(chosen.tolist(), rng.random(len(chosen)).tolist(), strict=True)
    ]


class _Replacer:
    """Puts other words in the place of some."""

    def __init__(
        self, settings: AugmentSettings, whole: WholeWords, filler: PreTrainedModel | None, progress: Progress
    ) -> None:
        self.settings = settings
        self.whole = whole
        self.tokenizer = whole.tokenizer
        self.filler = filler
        self.progress = progress

    def __call__(self, texts: Sequence[Words], changes: Sequence[Sequence[Sequence[_Change]]]) -> list[list[str]]:
        """The changed texts, per row and copy."""
        places = list(dict.fromkeys(change.place for row in changes for copy in row for change in copy))
        candidates = self._candidates(texts, places)
        return [[self._rewrite(texts[row], copy, candidates) for copy in copies] for row, copies in enumerate(changes)]

    def _candidates(self, texts: Sequence[Words], places: Sequence[WordPosition]) -> dict[WordPosition, list[str]]:
        settings = self.settings
        found: dict[WordPosition, list[str]] = {}
        if self.filler is not None:
            found = fill_places(
                self.filler,
                self.tokenizer,
                self.whole,
                texts,
                places,
                count=settings.candidates,
                max_length=settings.max_length,
                progress=self.progress,
            )
        rest = [place for place in places if place not in found]
        words = list(dict.fromkeys(texts[place.text][place.word] for place in rest))
        near = self.whole.neighbours(
            words if self.filler is not None else self.whole.single(words), settings.candidates
        )
        return found | {place: near.get(texts[place.text][place.word], []) for place in rest}

    def _rewrite(self, words: Words, changes: Sequence[_Change], candidates: dict[WordPosition, list[str]]) -> str:
        result: list[str | None] = [words[index] for index in range(len(words))]
        for change in changes:
            choice = candidates[change.place]
            if choice:
                result[change.place.word] = choice[int(change.draw * len(choice))]
        return words.with_words(result)


def _replacer(settings: AugmentSettings, teacher: PreTrainedModel, tokenizer: Any, progress: Progress) -> _Replacer:
    """Neighbours are the teacher's; with a masked language model everything is that model's."""
    if settings.model is None:
        return _Replacer(settings, WholeWords(teacher, tokenizer), None, progress)
    checkpoint = find_checkpoint(settings.model)
    filler = load_masked_lm(checkpoint)
    return _Replacer(settings, WholeWords(filler, load_tokenizer(checkpoint)), filler, progress)


def _fresh_rows(
    dataset: Dataset, sides: list[tuple[str, ...]], changed: list[list[list[str]]], settings: AugmentSettings
) -> Dataset:
    seen = {tuple(plain(text) for text in row) for row in zip(*sides, strict=True)}
    fresh = []
    for row in _rows(changed, settings.copies):
        if row not in seen:
            seen.add(row)
            fresh.append(row)
    columns = list(zip(*fresh, strict=True)) if fresh else [() for _ in sides]
    source = f"{dataset.source} (changed by {settings.method})"
    pairs = None if dataset.pairs is None else tuple(columns[1])
    return Dataset(source, tuple(columns[0]), pairs, schema=dataset.schema)


def _rows(changed: list[list[list[str]]], copies: int) -> Iterator[tuple[str, ...]]:
    for row in range(len(changed[0])):
        for copy in range(copies):
            yield tuple(side[row][copy] for side in changed)
