"""A loaded bundle: text in, answer out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.errors import BundleError, DataError, EdgelmError
from edgelm.runtime.answers.classes import Answer, check_outputs, read_answers
from edgelm.runtime.bundle import Bundle, open_bundle
from edgelm.runtime.inputs.text import Text, TextProcessor, load_text_processor
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.provider import Opened, open_session


class Model:
    """A bundle that is ready to answer.

    Calling it does three steps that can also be taken one by one: `tokenize`, `infer`, `read`.
    """

    def __init__(self, opened: Opened, encoder: TextProcessor) -> None:
        self.manifest: Manifest = encoder.manifest
        self.opened = opened
        self.session = session = opened.session
        self._encoder = encoder
        self._outputs = [encoder.manifest.outputs[0].name]
        self._run = session.run

    def __call__(self, texts: Text | Sequence[Text]) -> Any:
        """Answer one text (a `str`, or a tuple of two for pair tasks), or a list of them at once.

        Returns:
            an answer, or a list of answers; see `edgelm.runtime.answers.classes`.

        Raises:
            UsageError: texts of a kind that the model does not take.
        """
        single = isinstance(texts, (str, tuple))
        rows: list[Text] = [texts] if single else list(texts)  # type: ignore[list-item]
        if not rows:
            return []
        calls = (
            [rows] if self._encoder.padded else [[row] for row in rows]
        )  # a graph without a mask reads one text at a time
        answers = [answer for call in calls for answer in self.read(self.infer(self.tokenize(call)))]
        return answers[0] if single else answers

    def tokenize(self, texts: Sequence[Text]) -> dict[str, np.ndarray]:
        """The graph's inputs, each (texts, tokens), int64: as `edgelm.runtime.inputs.text.TextProcessor` makes them.

        Raises:
            UsageError: texts of a kind that the model does not take, or of unlike lengths, for a graph that reads no
                mask.
        """
        return self._encoder(texts)

    def infer(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """Run the graph: (texts, labels) logits or (texts, hidden) sentence vectors, float32.

        Raises:
            BundleError: the graph fails, for instance at a token that its embeddings do not have, or gives what is no
                output of the task.
            DataError: it fails at a text without tokens.
        """
        try:
            result: np.ndarray = self._run(self._outputs, feeds)[0]
        except EdgelmError:
            raise
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            if any(values.size == 0 for values in feeds.values()):
                raise DataError(
                    "a text becomes no token, and the model cannot read nothing.", hint="Leave such texts out."
                ) from error
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise BundleError(
                f"the graph cannot take inputs of shape {' '.join(str(values.shape) for values in feeds.values())}: "
                f"{reason[:200]}",
                hint="`edgelm verify` checks the bundle; export it again if it passes.",
            ) from error
        check_outputs(self.manifest.task, result, rows=len(next(iter(feeds.values()))))
        return result

    def read(self, outputs: np.ndarray) -> list[Answer]:
        """Answers from outputs."""
        return read_answers(self.manifest.task, outputs)


def load(
    path: str | Path | Bundle, *, threads: int | None = None, provider: str | None = None, check_hashes: bool = True
) -> Model:
    """Load a bundle.

    The SHA-256 of every file that answers depend on (graph, weights, tokenizer, engine) is compared with the manifest's
    before the file is used; a folder's weights, which are mapped, before the model is given out. Who can write to the
    bundle then or later can still change them.

    Args:
        path: a bundle folder, its single-file form, or a bundle that is open already.
        threads: for one operator; None: as the bundle says, else one a core.
        provider: what must run it, such as `cpu`; None: what the bundle's device prefers and is there, see
            `edgelm.runtime.provider`.
        check_hashes: False: sizes alone are compared, for a device where hashing takes too long. A bundle that is open
            already keeps its own.

    Raises:
        BundleError: broken, changed, or made by a newer edgelm.
        UsageError: the provider is not there.
    """
    bundle = path if isinstance(path, Bundle) else open_bundle(path, check_hashes=check_hashes)
    bundle.hash_early()  # while tokenizer, libraries and session are loaded
    encoder = load_text_processor(bundle)
    return Model(open_session(bundle, threads=threads, provider=provider), encoder)
