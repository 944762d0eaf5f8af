"""Which tokens a user's texts need, and a tokenizer and a model that know only those.

Dropping what a domain or language never uses takes nothing from the texts that remain readable, and embeddings are most
of a multilingual model (Abdaoui, Pradel, Sigel 2020, arXiv:2010.05609).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from edgelm.anatomy import TaskModel, cut_tokens, fixed_tokens, token_weights
from edgelm.checkpoint import KeptTokens, Record
from edgelm.compress.vocabulary.corpus import is_plain, read_rows, read_texts, read_words
from edgelm.compress.vocabulary.respelling import Respelling, respelling
from edgelm.compress.vocabulary.tokenizer_json import Vocabulary, read_vocabulary
from edgelm.compress.vocabulary.writing import framing_texts, settings_tokens, written_texts
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import all_texts, plain_inputs
from edgelm.errors import ModelError, RecipeError
from edgelm.progress import Progress, silent
from edgelm.recipe import VocabularySettings
from edgelm.tasks.generation import Generation
from edgelm.tasks.task import Task

_BATCH = 1024  # texts that are held at once


def count_tokens(tokenizer: Any, texts: Iterable[str], *, size: int = 0, progress: Progress = silent) -> np.ndarray:
    """How often each token occurs in texts, which are read whole and never held all at once.

    Args:
        size: about how many characters the texts have, for the progress.

    Returns:
        (tokens,) int64, by id.
    """
    counts = np.zeros(max(tokenizer.get_vocab().values()) + 1, dtype=np.int64)
    read = 0
    for batch in _batches(texts):
        ids = np.fromiter((token for row in _encode(tokenizer, batch) for token in row), dtype=np.int64)
        counts += np.bincount(ids, minlength=len(counts))
        read += sum(map(len, batch))
        progress("count tokens", min(read, size), size)
    progress("count tokens", size, size)
    return counts


def spelling(tokenizer: Any, words: Sequence[str]) -> set[int]:
    """The tokens of words, at the start of a text and within it: some vocabularies tell the two apart."""
    places = [place for word in words for place in (word, f" {word}")]
    return {token for batch in _batches(places) for row in _encode(tokenizer, batch) for token in row}


def tokens_to_keep(
    model: TaskModel, settings: VocabularySettings, rows: Dataset, *, progress: Progress = silent
) -> list[int]:
    """The tokens of a model's vocabulary that stay, sorted by id.

    Args:
        rows: training rows.

    Raises:
        ModelError: a kind of tokenizer whose tokens cannot be cut.
        DataError: a file of the settings cannot be read, or a chat template refuses a conversation.
        RecipeError: as `choose_tokens`.
    """
    tokenizer, task = model.tokenizer, model.task
    known = read_vocabulary(tokenizer)
    texts = tuple(_texts(rows, tokenizer, task))
    size = sum(map(len, texts)) + sum(Path(path).stat().st_size for path in settings.corpora)
    more = (_corpus(path, tokenizer, task) for path in settings.corpora)
    counts = count_tokens(tokenizer, chain(texts, *more), size=size, progress=progress)
    always = [*read_words(settings.keep), *task.prompted([""])]
    named = fixed_tokens(model.model)
    if isinstance(task, Generation):
        always += framing_texts(tokenizer, task)
        named |= settings_tokens(task)
    return choose_tokens(
        known,
        counts,
        min_count=settings.min_count,
        max_tokens=settings.max_tokens,
        always=spelling(tokenizer, always) | named & set(known.ids.values()),
        frequent=settings.frequent,
        share=settings.share,
        min_tokens=settings.min_tokens,
    )


def _texts(rows: Dataset, tokenizer: Any, task: Task) -> Iterator[str]:
    return written_texts(rows, tokenizer, task) if isinstance(task, Generation) else all_texts(rows)


def _corpus(path: str, tokenizer: Any, task: Task) -> Iterator[str]:
    """The texts of a file: lines are read as they are, rows as those to train on."""
    if isinstance(task, Generation) and not is_plain(path):
        return written_texts(read_rows(path, task.schema), tokenizer, task)
    return read_texts(path)


def choose_tokens(
    vocabulary: Vocabulary,
    counts: np.ndarray,
    *,
    min_count: int,
    max_tokens: int | None,
    always: Iterable[int],
    frequent: int,
    share: float = 1.0,
    min_tokens: int = 0,
) -> list[int]:
    """The tokens that stay, sorted by id.

    Args:
        counts: (tokens,) how often each occurs.
        min_count, max_tokens, share, min_tokens: see `VocabularySettings`; tokens with equal counts are taken in the
            order of the vocabulary.
        always: tokens that stay besides those that a tokenizer cannot lose.
        frequent: how many of the vocabulary's first words stay.

    Raises:
        RecipeError: what must stay is more than `max_tokens`.
    """
    kept = vocabulary.closure({*vocabulary.fixed, *always, *vocabulary.words[:frequent]})
    if max_tokens is not None and len(kept) > max_tokens:
        raise RecipeError(
            f"vocabulary.max_tokens is {max_tokens}, but {len(kept)} tokens must stay: special tokens, the alphabet, "
            "words to keep.",
            hint=f"Use at least {len(kept)}, or lower vocabulary.frequent ({frequent}).",
        )
    known = set(vocabulary.ids.values())
    covered, wanted = int(counts[sorted(kept)].sum()), share * int(counts.sum())
    for token in np.argsort(-counts, kind="stable").tolist():
        if len(kept) >= min_tokens and (counts[token] < min_count or (share < 1 and covered >= wanted)):
            break
        added = vocabulary.closure([token] if token in known else []) - kept
        if max_tokens is not None and len(kept) + len(added) > max_tokens:
            break
        kept |= added
        covered += int(counts[sorted(added)].sum())
    return sorted(kept)


def coverage(before: Any, after: Any, texts: Sequence[Any]) -> tuple[float, float]:
    """How much of some texts a smaller tokenizer reads as the one that it was made from.

    Args:
        texts: as tokenizers take them: texts, or pairs of two.

    Returns:
        share of the texts that have lost no token, share of the tokens that are still there.

    Raises:
        ModelError: a text that has lost no token is read differently all the same: the tokenizer is of a kind that
            cannot be cut.
    """
    left = after.get_vocab()
    number = {token: left.get(name) for name, token in before.get_vocab().items()}
    whole = kept = total = 0
    for batch in _batches(texts):
        for text, old, new in zip(batch, _encode(before, batch), _encode(after, batch), strict=True):
            wanted = [number[token] for token in old]
            lost = wanted.count(None)
            if not lost and wanted != new:
                raise ModelError(
                    f"the tokenizer reads {str(text)[:60]!r} differently, though no token of it was dropped.",
                    hint="Leave the stage vocabulary out of the recipe.",
                )
            whole, kept, total = whole + (not lost), kept + len(old) - lost, total + len(old)
    return whole / len(texts), kept / total if total else 1.0


def kept_tokens(
    record: Record, models: tuple[PreTrainedModel, PreTrainedModel], tokenizers: tuple[Any, Any], rows: Dataset
) -> KeptTokens:
    """What is left of a vocabulary, measured on evaluation rows.

    Args:
        record: of the checkpoint that was cut.
        models, tokenizers: before and after.

    Raises:
        ModelError: as `coverage`.
    """
    (before, after), earlier = tokenizers, record.tokens
    old, new = (token_weights(model) for model in models)
    inputs: Sequence[Any] = plain_inputs(rows)
    respelled: Respelling | None = None
    if isinstance(record.task, Generation):
        inputs = texts = list(written_texts(rows, before, record.task))
        respelled = respelling(before, after, texts)
    whole, tokens = coverage(before, after, inputs)
    return KeptTokens(
        kept=len(after.get_vocab()),
        original=earlier.original if earlier else len(before.get_vocab()),
        saved_mb=(earlier.saved_mb if earlier else 0.0) + (old - new) * 4 / 1e6,
        covered_texts=whole,
        covered_tokens=tokens,
        same_characters=None if respelled is None else respelled.same_characters,
        more_tokens=None if respelled is None else respelled.more_tokens,
    )


def read_alike(teacher: PreTrainedModel, before: Any, after: Any) -> tuple[PreTrainedModel, Any]:
    """Teacher and tokenizer for the stages after one that may have cut the vocabulary: both know the tokens that are
    left."""
    old, new = before.get_vocab(), after.get_vocab()
    if old == new:
        return teacher, before
    return cut_tokens(teacher, [old[name] for name in sorted(new, key=new.__getitem__)]), after


def _encode(tokenizer: Any, texts: Sequence[Any]) -> list[list[int]]:
    encoded = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def _batches(texts: Iterable[Any]) -> Iterator[list[Any]]:
    source = iter(texts)
    while batch := list(islice(source, _BATCH)):
        yield batch
