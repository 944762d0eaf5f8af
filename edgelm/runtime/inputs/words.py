"""Where words begin among the tokens of a text."""

from __future__ import annotations

from typing import Any

_UNKNOWN = ("[UNK]", "<unk>")  # what tokenizers call it that do not say


class WordFinder:
    """Finds the tokens that begin a word, as transformers' token classification pipeline does.

    A tokenizer that marks the pieces of a word (WordPiece's `##`) shows them by tokens that are longer than what they
    stand for; with any other a word begins behind a space.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._marked = bool(getattr(tokenizer.model, "continuing_subword_prefix", None))
        name = getattr(tokenizer.model, "unk_token", None)
        known = (tokenizer.token_to_id(each) for each in ((name,) if name else _UNKNOWN))
        self._unknown = next((found for found in known if found is not None), None)

    def begins(self, encoding: Any, sample: str | tuple[str, ...]) -> tuple[bool, ...]:
        """For each token whether a word begins with it; of words that were given, the words are those."""
        if isinstance(sample, tuple):
            words = encoding.word_ids
            return tuple(
                word is not None and word != before for word, before in zip(words, [None, *words[:-1]], strict=True)
            )
        return tuple(
            number is None or token_id == self._unknown or not self._continues(token, start, end, sample)
            for token_id, token, (start, end), number in zip(
                encoding.ids, encoding.tokens, encoding.offsets, encoding.sequence_ids, strict=True
            )
        )

    def _continues(self, token: str, start: int, end: int, text: str) -> bool:
        if self._marked:
            return len(token) != end - start
        return start > 0 and " " not in text[start - 1 : start + 1]
