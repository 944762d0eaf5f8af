"""How many tokens the user's texts have: by a tokenizer where one is at hand, else by their words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelm.advising.models import KnownModel
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import plain_inputs
from edgelm.errors import DataError

TOKENS_A_WORD = 1.1  # in tokens of BERT, punctuation counted as words: 1.02 to 1.14 on eight English data sets
_SAMPLE = 1000  # texts that are looked at
_MARKS = 2  # tokens before and behind a text; a pair has one more
_LETTER = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # of languages that put no blanks between words
_WORD = re.compile(rf"[{_LETTER}]|[^\W{_LETTER}]+|[^\w\s]")


@dataclass(frozen=True)
class TextLengths:
    """Tokens of texts, cut at the longest that is read.

    Attributes:
        median, p95: of the texts.
        source: in words, how they were counted.
        assumed: whether words were counted, not tokens.
    """

    median: int
    p95: int
    source: str
    assumed: bool


def text_lengths(rows: Dataset, models: tuple[KnownModel, ...], *, max_length: int) -> TextLengths:
    """Count the tokens of texts, by the tokenizer of the first model that is a folder.

    Raises:
        DataError: there are no texts.
        ModelError: the folder's tokenizer cannot be read.
    """
    if not len(rows):
        raise DataError(f"{rows.source}: no texts.", hint="Give a file with texts with --data.")
    texts = plain_inputs(rows.sample(_SAMPLE, seed=0))
    folder = next((model for model in models if model.path is not None), None)
    if folder is None:
        counts = [_by_words(text) for text in texts]
        source = f"{TOKENS_A_WORD} tokens a word, which is assumed"
    else:
        from edgelm.anatomy import load_tokenizer  # which needs torch

        assert folder.path is not None
        tokenizer: Any = load_tokenizer(folder.path)
        counts = [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]
        source = f"the tokenizer of {folder.name}"
    median, p95 = (int(value) for value in np.percentile(np.minimum(counts, max_length), (50, 95)))
    return TextLengths(max(median, 2), max(p95, 2), source, folder is None)


def _by_words(text: Any) -> int:
    parts = (text,) if isinstance(text, str) else text
    words = sum(len(_WORD.findall(part)) for part in parts)
    return round(TOKENS_A_WORD * words) + _MARKS + len(parts) - 1
