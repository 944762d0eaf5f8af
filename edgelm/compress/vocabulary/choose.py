"""Which tokens a user's texts need, and a tokenizer and a model that know only those.

Dropping what a domain or language never uses takes nothing from the texts that remain readable, and embeddings are most
of a multilingual model (Abdaoui, Pradel, Sigel 2020, arXiv:2010.05609).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from edgelm.anatomy import cut_tokens, word_embeddings
from edgelm.checkpoint import KeptTokens, Record
from edgelm.compress.vocabulary.tokenizer_json import Vocabulary
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import plain_inputs
from edgelm.errors import ModelError, RecipeError
from edgelm.progress import Progress, silent

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


def choose_tokens(
    vocabulary: Vocabulary,
    counts: np.ndarray,
    *,
    min_count: int,
    max_tokens: int | None,
    always: Iterable[int],
    frequent: int,
) -> list[int]:
    """The tokens that stay, sorted by id.

    Args:
        counts: (tokens,) how often each occurs.
        min_count, max_tokens: see `VocabularySettings`; tokens with equal counts are taken in the order of the
            vocabulary.
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
    for token in np.argsort(-counts, kind="stable").tolist():
        if counts[token] < min_count:
            break
        added = vocabulary.closure([token]) - kept
        if max_tokens is not None and len(kept) + len(added) > max_tokens:
            break
        kept |= added
    return sorted(kept)


def coverage(before: Any, after: Any, rows: Dataset) -> tuple[float, float]:
    """How much of some rows a smaller tokenizer reads as the one that it was made from.

    Returns:
        share of the rows that have lost no token, share of the tokens that are still there.

    Raises:
        ModelError: a row that has lost no token is read differently all the same: the tokenizer is of a kind that
            cannot be cut.
    """
    left = after.get_vocab()
    number = {token: left.get(name) for name, token in before.get_vocab().items()}
    whole = kept = total = 0
    for batch in _batches(plain_inputs(rows)):
        for text, old, new in zip(batch, _encode(before, batch), _encode(after, batch), strict=True):
            wanted = [number[token] for token in old]
            lost = wanted.count(None)
            if not lost and wanted != new:
                raise ModelError(
                    f"the tokenizer reads {str(text)[:60]!r} differently, though no token of it was dropped.",
                    hint="Leave the stage vocabulary out of the recipe.",
                )
            whole, kept, total = whole + (not lost), kept + len(old) - lost, total + len(old)
    return whole / len(rows), kept / total if total else 1.0


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
    old, new = (word_embeddings(model).weight.numel() for model in models)
    texts, tokens = coverage(before, after, rows)
    return KeptTokens(
        kept=len(after.get_vocab()),
        original=earlier.original if earlier else len(before.get_vocab()),
        saved_mb=(earlier.saved_mb if earlier else 0.0) + (old - new) * 4 / 1e6,
        covered_texts=texts,
        covered_tokens=tokens,
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
