"""Texts to a graph's inputs, by a bundle's tokenizer alone: the graph itself need not be loaded, nor run here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgelm.errors import BundleError, UsageError
from edgelm.limits import JSON_BYTES
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.graph_spec import Role
from edgelm.runtime.inputs.batch import Batch, Tokens
from edgelm.runtime.inputs.native_reader import NativeReader, open_reader
from edgelm.runtime.inputs.samples import check_sample
from edgelm.runtime.inputs.sequences import Encoder, make_sequences
from edgelm.runtime.inputs.tokenizer_guard import check_growth, tokenizer_errors
from edgelm.runtime.manifest import TOKENIZER_FILE, Manifest

# What a sequence of tokens offers for each role of a graph's inputs.
_FIELDS: dict[Role, str] = {"tokens": "ids", "mask": "attention_mask", "types": "type_ids"}


class TextProcessor:
    """Makes inputs of samples; see `edgelm.runtime.inputs.samples` for what a sample of each task is.

    Args:
        tokenizer: gives it, set up as `make_encoder` does, when it is needed.
        reader: of edgelm-native, which reads what it can instead; None: nothing.
        passed: why there is none.

    Attributes:
        padded: whether the graph reads a mask, and so texts of unlike lengths in one call.
        reads_by: what reads texts, in one line.
    """

    def __init__(
        self, manifest: Manifest, tokenizer: Callable[[], Any], reader: NativeReader | None = None, *, passed: str = ""
    ) -> None:
        self.manifest = manifest
        self.padded = bool(manifest.graph().names("mask"))
        self.reads_by = "edgelm-native" if reader else "tokenizers" + (f" (not edgelm-native: {passed})" * bool(passed))
        self.is_native = reader is not None
        self._encoder = Encoder(manifest, tokenizer, reader)
        settings = manifest.tokenization
        padding = {"ids": settings.pad_id, "attention_mask": 0, "type_ids": settings.pad_type_id}
        self._inputs = [(spec.name, _FIELDS[spec.role], padding[_FIELDS[spec.role]]) for spec in manifest.inputs]

    def __call__(self, samples: Sequence[Any]) -> Batch:
        """The graph's inputs, each (sequences, tokens), int64: padded to the batch's longest.

        Texts are cut at the model's longest; those that a question is answered from are read in windows instead.

        Raises:
            UsageError: a sample of another kind than the task's; sequences of unlike lengths, for a graph that reads
                no mask.
            DataError: a text that becomes no token, among others, or that is no Unicode; a question, a text to search
                or an ending that is empty; a question as long as the model reads.
            BundleError: a tokenizer that lacks a token of its own.
        """
        task = self.manifest.task
        context = make_sequences(self._encoder, tuple(check_sample(task, sample) for sample in samples))
        lengths = {len(sequence) for sequence in context.sequences}
        if len(lengths) > 1 and not self.padded:
            alone = len(context.samples) == 1  # windows of one text, or its endings
            raise UsageError(
                "this bundle was exported for one text at a time: texts in one call must be equally long.",
                hint="Export it without --single."
                if alone
                else "Call the model itself, which takes them one by one, or export without --single.",
            )
        longest = max(lengths) if len(lengths) > 1 else None
        fields = {name: _stack(context.sequences, field, longest, padding) for name, field, padding in self._inputs}
        return Batch(fields, context)


def _stack(sequences: Sequence[Tokens], field: str, longest: int | None, padding: int) -> np.ndarray:
    """One field of sequences, (sequences, longest), int64, filled up behind each; `longest` is None where all are
    equally long."""
    rows = [getattr(sequence, field) for sequence in sequences]
    if len(rows) == 1 and isinstance(rows[0], np.ndarray):
        return rows[0][np.newaxis]
    if longest is None:
        return np.array(rows, dtype=np.int64)
    stacked = np.full((len(sequences), longest), padding, dtype=np.int64)
    for row, values in zip(stacked, rows, strict=True):
        row[: len(values)] = values
    return stacked


def load_text_processor(bundle: Bundle, *, native: bool = True) -> TextProcessor:
    """The encoder of a bundle's texts.

    Args:
        native: by edgelm-native, where it is installed and knows the bundle's tokenizer; the tokenizers library then
            reads its file when a text needs it.

    Raises:
        BundleError: its tokenizer cannot be read, or its graph asks for what text does not give.
    """
    unknown = [spec.name for spec in bundle.manifest.inputs if spec.role not in _FIELDS]
    if unknown:
        raise BundleError(
            f"{bundle.path}: the graph needs inputs that text does not give: {', '.join(unknown)}.",
            hint="Export the bundle again.",
        )
    reader, passed = open_reader(bundle) if native else (None, "")
    data = _read_tokenizer(bundle)

    @functools.cache
    def make_tokenizer() -> Any:
        return _set_up(bundle.manifest, _make_tokenizer(data))

    if reader is None:
        make_tokenizer()
    return TextProcessor(bundle.manifest, make_tokenizer, reader, passed=passed)


def load_tokenizer(bundle: Bundle) -> Any:
    """A bundle's tokenizer, of the tokenizers library, as its file says it.

    Raises:
        BundleError: it cannot be read.
    """
    return _make_tokenizer(_read_tokenizer(bundle))


def _read_tokenizer(bundle: Bundle) -> bytes:
    data = bundle.read(TOKENIZER_FILE)
    JSON_BYTES.check(len(data), TOKENIZER_FILE)
    return data


def _make_tokenizer(data: bytes) -> Any:
    from tokenizers import Tokenizer

    with tokenizer_errors("cannot be read"):
        tokenizer = Tokenizer.from_buffer(data)
        check_growth(tokenizer)
    return tokenizer


def make_encoder(manifest: Manifest, tokenizer: Any) -> TextProcessor:
    """The encoder of a manifest's texts, by a tokenizer as tokenizer.json says it, which is set here.

    Raises:
        BundleError: settings that no tokenizer has.
    """
    _set_up(manifest, tokenizer)
    return TextProcessor(manifest, lambda: tokenizer)


def _set_up(manifest: Manifest, tokenizer: Any) -> Any:
    settings = manifest.tokenization
    with tokenizer_errors("cannot be set up"):
        if manifest.task.pair:  # read whole: cut in windows, or as `edgelm.runtime.inputs.pairs` does
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(settings.max_length, direction=settings.truncation_side)
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = settings.split_special
    return tokenizer
