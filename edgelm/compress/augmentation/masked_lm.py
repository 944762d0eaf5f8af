"""What a masked language model would write in a word's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from edgelm.compress.augmentation.neighbours import WholeWords
from edgelm.compress.augmentation.words import Words
from edgelm.progress import Progress, silent

_LOGITS = 1 << 26  # numbers that one batch may give: 256 MiB


@dataclass(frozen=True)
class WordPosition:
    """A word of a text: `text` and `word` are indices."""

    text: int
    word: int


def fill_places(
    model: PreTrainedModel,
    tokenizer: Any,
    whole: WholeWords,
    texts: Sequence[Words],
    places: Sequence[WordPosition],
    *,
    count: int,
    max_length: int,
    progress: Progress = silent,
) -> dict[WordPosition, list[str]]:
    """The `count` likeliest whole words for each place, each masked by itself (TinyBERT, Jiao et al. 2020, algorithm
    1).

    Words of more than one piece, which one mask cannot stand for, and words behind `max_length` are left out.
    """
    encoded = tokenizer(
        [words.text for words in texts], truncation=True, max_length=min(max_length, tokenizer.model_max_length)
    )
    masked: list[tuple[WordPosition, int]] = []
    for place in places:
        start, end = texts[place.text].spans[place.word]
        token = encoded.char_to_token(place.text, start)
        if token is not None and token == encoded.char_to_token(place.text, end - 1):
            masked.append((place, token))
    lengths = [len(ids) for ids in encoded["input_ids"]]
    masked.sort(key=lambda item: -lengths[item[0].text])
    found: dict[WordPosition, list[str]] = {}
    start = 0
    while start < len(masked):
        longest = lengths[masked[start][0].text]
        part = masked[start : start + max(1, _LOGITS // (longest * model.config.vocab_size))]
        rows = _likely(model, tokenizer, encoded, part)[:, whole.ids]
        for (place, _), row in zip(part, rows, strict=True):
            found[place] = whole.best(row, texts[place.text][place.word], count)
        start += len(part)
        progress("masked language model", start, len(masked))
    return found


def _likely(
    model: PreTrainedModel, tokenizer: Any, encoded: Any, part: Sequence[tuple[WordPosition, int]]
) -> torch.Tensor:
    """(places, vocabulary) logits at the masks."""
    columns = {name: [encoded[name][place.text] for place, _ in part] for name in tokenizer.model_input_names}
    batch = tokenizer.pad(columns, return_tensors="pt")
    rows, tokens = torch.arange(len(part)), torch.tensor([token for _, token in part])
    if tokenizer.padding_side == "left":
        tokens = tokens + batch["input_ids"].shape[1] - torch.tensor([len(ids) for ids in columns["input_ids"]])
    batch["input_ids"][rows, tokens] = tokenizer.mask_token_id
    with torch.inference_mode():
        logits: torch.Tensor = model(**batch).logits
    return logits[rows, tokens]
