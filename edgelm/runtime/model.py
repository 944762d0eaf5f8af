"""A loaded bundle: text in, answer out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgelm.errors import BundleError, UsageError
from edgelm.runtime.answer import Answer, read_answers
from edgelm.runtime.bundle import Bundle, open_bundle
from edgelm.runtime.manifest import TOKENIZER_FILE, Manifest
from edgelm.runtime.provider import Opened, open_session

Text: TypeAlias = "str | tuple[str, str]"

# What a tokenizer's encoding offers for each input of a graph.
_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


class Model:
    """A bundle that is ready to answer.

    Calling it does three steps that can also be taken one by one: `tokenize`, `infer`, `read`.
    """

    def __init__(self, bundle: Bundle, opened: Opened, tokenizer: Any) -> None:
        self.manifest: Manifest = bundle.manifest
        self.opened = opened
        self.session = session = opened.session
        self.tokenizer = tokenizer
        self._inputs = [(spec.name, _FIELDS[spec.name]) for spec in bundle.manifest.inputs]
        self._outputs = [bundle.manifest.outputs[0].name]
        self._run = session.run
        self._padded = any(spec.name == "attention_mask" for spec in bundle.manifest.inputs)

    def __call__(self, texts: Text | Sequence[Text]) -> Any:
        """Answer one text (a `str`, or a tuple of two for pair tasks), or a list of them at once.

        Returns:
            an answer, or a list of answers; see `edgelm.runtime.answer`.

        Raises:
            UsageError: texts of a kind that the model does not take.
        """
        single = isinstance(texts, (str, tuple))
        rows: list[Text] = [texts] if single else list(texts)  # type: ignore[list-item]
        if not rows:
            return []
        calls = [rows] if self._padded else [[row] for row in rows]  # a graph without a mask reads one text at a time
        answers = [answer for call in calls for answer in self.read(self.infer(self.tokenize(call)))]
        return answers[0] if single else answers

    def tokenize(self, texts: Sequence[Text]) -> dict[str, np.ndarray]:
        """The graph's inputs, each (texts, tokens), int64: cut at the model's longest, padded to the batch's longest.

        Raises:
            UsageError: a pair where single texts are expected, or the other way round; texts of unlike lengths, for a graph that reads
                no mask.
        """
        self._check(texts)
        if len(texts) == 1:
            text = texts[0]
            encodings = [self.tokenizer.encode(*text) if isinstance(text, tuple) else self.tokenizer.encode(text)]
        else:
            encodings = self.tokenizer.encode_batch(list(texts))
            longest = max(len(encoding.ids) for encoding in encodings)
            if not self._padded and any(len(encoding.ids) != longest for encoding in encodings):
                raise UsageError(
                    "this bundle was exported for one text at a time: texts in one call must be equally long.",
                    hint="Call the model itself, which takes them one by one, or export without --single.",
                )
            padding = self.manifest.tokenization
            for encoding in encodings:
                encoding.pad(longest, pad_id=padding.pad_id, pad_token=padding.pad_token)
        return {name: np.array([getattr(encoding, field) for encoding in encodings], dtype=np.int64) for name, field in self._inputs}

    def infer(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """Run the graph: (texts, labels) logits or (texts, hidden) sentence vectors, float32."""
        result: np.ndarray = self._run(self._outputs, feeds)[0]
        return result

    def read(self, outputs: np.ndarray) -> list[Answer]:
        """Answers from outputs."""
        return read_answers(self.manifest.task, outputs)

    def _check(self, texts: Sequence[Text]) -> None:
        pair = self.manifest.task.pair
        for text in texts:
            if pair and not (isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)):
                raise UsageError(
                    "this model reads two texts at once.",
                    hint='Give pairs: model(("first", "second")), or `edgelm run BUNDLE "first" --pair "second"`.',
                )
            if not pair and not isinstance(text, str):
                raise UsageError(f"this model reads single texts; got {type(text).__name__}.", hint='Give a text: model("...").')


def load(path: str | Path | Bundle, *, threads: int | None = None, provider: str | None = None) -> Model:
    """Load a bundle.

    Args:
        path: a bundle folder, its single-file form, or a bundle that is open already.
        threads: for one operator; None: as the bundle says, else one a core.
        provider: what must run it, such as `cpu`; None: what the bundle's device prefers and is there, see `edgelm.runtime.provider`.

    Raises:
        BundleError: broken, or made by a newer edgelm. Hashes are not checked here: `edgelm verify` does.
        UsageError: the provider is not there.
    """
    bundle = path if isinstance(path, Bundle) else open_bundle(path)
    unknown = [spec.name for spec in bundle.manifest.inputs if spec.name not in _FIELDS]
    if unknown or not bundle.manifest.outputs:
        raise BundleError(
            f"{bundle.path}: the graph needs inputs that text does not give: {', '.join(unknown) or 'none named'}.", hint="Export the bundle again."
        )
    return Model(bundle, open_session(bundle, threads=threads, provider=provider), load_tokenizer(bundle))


def load_tokenizer(bundle: Bundle) -> Any:
    """The bundle's tokenizer, set to cut at the model's longest sequence and to pad nothing by itself.

    Raises:
        BundleError: it cannot be read.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(bundle.read(TOKENIZER_FILE))
    except BundleError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"{bundle.path}: {TOKENIZER_FILE} cannot be read: {error}", hint="Copy or export the bundle again.") from error
    tokenizer.enable_truncation(bundle.manifest.tokenization.max_length)
    tokenizer.no_padding()
    return tokenizer
