"""Texts read by edgelm-native, where it is installed and the bundle holds a tokenizer for it: the ids of the tokenizers
library, sooner.

The export writes it beside tokenizer.json, from it, so that either answers for the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelm.runtime.bundle import Bundle
from edgelm.runtime.native import library_misfit
from edgelm.runtime.preprocessing import TextProcessing
from edgelm.tasks.task import TaskKind

READER_FILE = "native.tokenizer"
READER_KINDS: tuple[TaskKind, ...] = ("text-classification", "sentence-embedding", "multiple-choice")  # read ids alone


class PlainTokens:
    """One sequence of tokens, as `edgelm.runtime.inputs.batch.Tokens` describes them, without their places in a text.

    Args:
        values: (2, tokens), int64: ids and types.
    """

    __slots__ = ("ids", "type_ids")

    offsets: tuple[tuple[int, int], ...] = ()
    word_ids: tuple[int | None, ...] = ()
    sequence_ids: tuple[int | None, ...] = ()

    def __init__(self, values: np.ndarray) -> None:
        self.ids: Any = values[0]
        self.type_ids: Any = values[1]

    @property
    def attention_mask(self) -> Any:
        """1 for each token."""
        return np.ones(len(self.ids), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ids)


class NativeReader:
    """A bundle's tokenizer, run by edgelm-native.

    Args:
        file: the content of `READER_FILE`.

    Raises:
        ValueError: it is damaged, newer than the library, or cuts and pads otherwise than the manifest says.
        ImportError, OSError: the library is too old, or does not load.
    """

    def __init__(self, file: bytes, settings: TextProcessing) -> None:
        from edgelm_native import Tokenizer, UnknownText

        self._read, self._unknown = Tokenizer(file), UnknownText
        found = (self._read.longest, self._read.pad_id, self._read.pad_type)
        if found != (settings.max_length, settings.pad_id, settings.pad_type_id):
            raise ValueError("it has other settings than the manifest")

    def __call__(self, sample: Any) -> PlainTokens | None:
        """The tokens of a text, or of a tuple of two, cut at the model's longest; None: one of its characters is of a
        kind that the library is not sure of, and the tokenizers library must read it.

        Raises:
            UnicodeEncodeError, TypeError: it is no Unicode, or no text.
        """
        try:
            return PlainTokens(self._read(*sample) if isinstance(sample, tuple) else self._read(sample))
        except self._unknown:
            return None


def open_reader(bundle: Bundle) -> tuple[NativeReader | None, str]:
    """The reader of a bundle's texts, or None and why there is none.

    Raises:
        BundleError: its file is missing, or has another size or hash than the manifest says.
    """
    if bundle.manifest.task.kind not in READER_KINDS:
        return None, "answers need the places of tokens"
    if not bundle.has(READER_FILE):
        return None, f"the bundle has no {READER_FILE}"
    if reason := library_misfit():
        return None, reason
    try:
        return NativeReader(bundle.read(READER_FILE), bundle.manifest.tokenization), ""
    except (ValueError, ImportError, OSError) as error:
        return None, f"{READER_FILE}: {error}"
