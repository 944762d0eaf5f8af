"""Words that a model takes for alike: the whole words of its vocabulary, near each other in its input embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel

_CHUNK = 256  # words compared with the vocabulary at once


class WholeWords:
    """The pieces of a vocabulary that are words by themselves, and where they lie in a model's input embeddings.

    Attributes:
        ids: (words,) int64, rows of the embedding matrix.
        words: as text, without the tokenizer's mark of a beginning word.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.embeddings = model.get_input_embeddings().weight.detach()
        pieces = [[index] for index in range(min(len(tokenizer), len(self.embeddings)))]
        texts = [text.strip() for text in tokenizer.batch_decode(pieces)]
        # Read again behind a space: pieces that go on in a word do not come back as themselves.
        whole = [
            text.isalnum() and again == piece
            for text, again, piece in zip(texts, self.pieces(texts), pieces, strict=True)
        ]
        self.ids = torch.tensor([index for index, keep in enumerate(whole) if keep], dtype=torch.int64)
        self.words = [texts[index] for index in self.ids.tolist()]
        self._unit = functional.normalize(self.embeddings[self.ids], dim=-1)

    def pieces(self, words: Sequence[str]) -> list[list[int]]:
        """Token ids of each word within a text."""
        if not words:
            return []
        found: list[list[int]] = self.tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
        return found

    def single(self, words: Sequence[str]) -> list[str]:
        """Those of the words that the vocabulary has whole."""
        known = set(self.ids.tolist())
        return [word for word, ids in zip(words, self.pieces(words), strict=True) if len(ids) == 1 and ids[0] in known]

    def neighbours(self, words: Sequence[str], count: int) -> dict[str, list[str]]:
        """For each word the `count` nearest others by cosine; a word of several pieces lies in their middle."""
        found: dict[str, list[str]] = {}
        pieces = self.pieces(words)
        for start in range(0, len(words), _CHUNK):
            vectors = torch.stack(
                [
                    self.embeddings[ids].mean(dim=0) if ids else self.embeddings[0]
                    for ids in pieces[start : start + _CHUNK]
                ]
            )
            cosines = functional.normalize(vectors, dim=-1) @ self._unit.T
            for word, row in zip(words[start : start + _CHUNK], cosines, strict=True):
                found[word] = self.best(row, word, count)
        return found

    def best(self, scores: torch.Tensor, word: str, count: int) -> list[str]:
        """The `count` whole words with the highest scores that are not `word` itself in another case.

        Args:
            scores: (words,), in the order of `words`.
        """
        spare = 8  # spellings of the word itself
        order = scores.topk(min(len(self.words), count + spare)).indices.tolist()
        return [self.words[index] for index in order if self.words[index].casefold() != word.casefold()][:count]
