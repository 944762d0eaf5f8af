"""Texts to a graph's inputs, by a bundle's tokenizer alone: the graph itself need not be loaded, nor run here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from edgelm.errors import BundleError, DataError, UsageError
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.manifest import MANIFEST_FILE, TOKENIZER_FILE, Manifest

Text: TypeAlias = "str | tuple[str, str]"

# What a tokenizer's encoding offers for each input of a graph.
_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


class TextProcessor:
    """Makes inputs of texts.

    Args:
        tokenizer: cuts at the model's longest sequence, and pads nothing by itself; see `load_text_processor`.

    Attributes:
        padded: whether the graph reads a mask, and so texts of unlike lengths in one call.
    """

    def __init__(self, manifest: Manifest, tokenizer: Any) -> None:
        self.manifest, self.tokenizer = manifest, tokenizer
        self.padded = any(spec.name == "attention_mask" for spec in manifest.inputs)
        self._inputs = [(spec.name, _FIELDS[spec.name]) for spec in manifest.inputs]

    def __call__(self, texts: Sequence[Text]) -> dict[str, np.ndarray]:
        """The graph's inputs, each (texts, tokens), int64: cut at the model's longest, padded to the batch's longest.

        Raises:
            UsageError: a pair where single texts are expected, or the other way round; texts of unlike lengths, for a
                graph that reads no mask.
            DataError: a text that becomes no token, among others, or that is no Unicode.
            BundleError: a tokenizer that lacks a token of its own.
        """
        self._check(texts)
        texts = self.manifest.task.prompted(texts)
        try:
            encodings = self.tokenizer.encode_batch(list(texts)) if len(texts) > 1 else [self._encode(texts[0])]
        except TypeError as error:  # half of a surrogate pair is a str that UTF-8 does not have
            raise DataError(
                "a text is no Unicode: it holds half of a surrogate pair.", hint="Read it with its real encoding."
            ) from error
        except (
            BaseException
        ) as error:  # tokenizers raises bare Exception and, where its Rust code panics, what is not even that
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise BundleError(
                f"{TOKENIZER_FILE} cannot cut this text into tokens: {error}.", hint="Copy or export the bundle again."
            ) from error
        for text, encoding in zip(texts, encodings, strict=True):
            if not encoding.ids and len(texts) > 1:  # it would be nothing but padding; alone, the graph decides
                raise DataError(
                    f"{str(text)!r:.60} becomes no token, and the model cannot read nothing.",
                    hint="Leave such texts out.",
                )
        if len(encodings) > 1:
            longest = max(len(encoding.ids) for encoding in encodings)
            if not self.padded and any(len(encoding.ids) != longest for encoding in encodings):
                raise UsageError(
                    "this bundle was exported for one text at a time: texts in one call must be equally long.",
                    hint="Call the model itself, which takes them one by one, or export without --single.",
                )
            padding = self.manifest.tokenization
            for encoding in encodings:
                encoding.pad(
                    longest, pad_id=padding.pad_id, pad_type_id=padding.pad_type_id, pad_token=padding.pad_token
                )
        return {
            name: np.array([getattr(encoding, field) for encoding in encodings], dtype=np.int64)
            for name, field in self._inputs
        }

    def _encode(self, text: Text) -> Any:
        return self.tokenizer.encode(*text) if isinstance(text, tuple) else self.tokenizer.encode(text)

    def _check(self, texts: Sequence[Text]) -> None:
        pair = self.manifest.task.pair
        for text in texts:
            if pair and not (
                isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)
            ):
                raise UsageError(
                    "this model reads two texts at once.",
                    hint='Give pairs: model(("first", "second")), or `edgelm run BUNDLE "first" --pair "second"`; '
                    "`edgelm export --no-pairs` makes a bundle for single texts.",
                )
            if not pair and not isinstance(text, str):
                if isinstance(text, tuple):
                    hint = "Export it again with --pairs, if it was trained on pairs of texts."
                    raise UsageError("this bundle was exported for single texts; got a pair.", hint=hint)
                raise UsageError(
                    f"this model reads single texts; got {type(text).__name__}.", hint='Give a text: model("...").'
                )


def load_text_processor(bundle: Bundle) -> TextProcessor:
    """The encoder of a bundle's texts.

    Raises:
        BundleError: its tokenizer cannot be read, or its graph asks for what text does not give.
    """
    unknown = [spec.name for spec in bundle.manifest.inputs if spec.name not in _FIELDS]
    if unknown or not bundle.manifest.outputs:
        raise BundleError(
            f"{bundle.path}: the graph needs inputs that text does not give: {', '.join(unknown) or 'none named'}.",
            hint="Export the bundle again.",
        )
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(bundle.read(TOKENIZER_FILE))
    except BundleError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(
            f"{bundle.path}: {TOKENIZER_FILE} cannot be read: {error}", hint="Copy or export the bundle again."
        ) from error
    return make_encoder(bundle.manifest, tokenizer)


def make_encoder(manifest: Manifest, tokenizer: Any) -> TextProcessor:
    """The encoder of a manifest's texts, by a tokenizer as tokenizer.json says it, which is set here.

    Raises:
        BundleError: settings that no tokenizer has.
    """
    settings = manifest.tokenization
    try:
        tokenizer.enable_truncation(settings.max_length, direction=settings.truncation_side)
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(
            f"{MANIFEST_FILE}: the tokenizer cannot be set up: {error}", hint="Export the bundle again."
        ) from error
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = settings.split_special
    return TextProcessor(manifest, tokenizer)
