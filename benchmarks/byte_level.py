"""Byte-level BPE tokenizers for the models that benchmarks make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def train_byte_level(texts: Iterable[str], words: int, special: Sequence[str]) -> Any:
    """A tokenizer of the `tokenizers` library trained on texts: so many tokens at most, the special ones first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=words, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
        ),
    )
    return made
