"""A batch: what a graph reads of some samples, and what its outputs are later read by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Tokens(Protocol):
    """One sequence of tokens: an encoding of the tokenizers library, or a window of one.

    Attributes:
        ids, type_ids, attention_mask: what the graph reads of it, without padding.
        offsets: where each token begins and ends, in characters of its text (of its word, where words were given).
        word_ids: which word of its text each token belongs to; None: none, as of special tokens.
        sequence_ids: which of two texts each token belongs to, 0 or 1; None: none, as of special tokens.
    """

    def __len__(self) -> int: ...
    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def type_ids(self) -> Sequence[int]: ...
    @property
    def attention_mask(self) -> Sequence[int]: ...
    @property
    def offsets(self) -> Sequence[tuple[int, int]]: ...
    @property
    def word_ids(self) -> Sequence[int | None]: ...
    @property
    def sequence_ids(self) -> Sequence[int | None]: ...


@dataclass(frozen=True)
class Context:
    """What answers are read by, beside the outputs.

    Attributes:
        samples: what the model was given, in the form that its task has.
        owners: for each sequence the index of its sample; a sample may have several: windows of a long text, or one
            for each ending.
        sequences: the tokens of each.
        begins: for each sequence and token, whether a word begins there; empty where the task reads no words.
        tokenizer: of the tokenizers library, where answers are tokens; else None.
    """

    samples: tuple[Any, ...] = ()
    owners: tuple[int, ...] = ()
    sequences: tuple[Tokens, ...] = ()
    begins: tuple[tuple[bool, ...], ...] = ()
    tokenizer: Any = None

    def by_sample(self) -> list[list[int]]:
        """For each sample its sequences, in order."""
        found: list[list[int]] = [[] for _ in self.samples]
        for index, owner in enumerate(self.owners):
            found[owner].append(index)
        return found


class Batch(dict[str, np.ndarray]):
    """The graph's inputs by name, each (sequences, tokens), int64, padded to the longest; with a context."""

    def __init__(self, feeds: Mapping[str, np.ndarray], context: Context) -> None:
        super().__init__(feeds)
        self.context = context

    @property
    def samples(self) -> int:
        """How many samples the sequences belong to."""
        return len(self.context.samples)
