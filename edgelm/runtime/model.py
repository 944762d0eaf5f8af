"""A loaded bundle: text in, answer out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.errors import BundleError, DataError, EdgelmError, UsageError
from edgelm.runtime.answers.table import Answer, check_outputs, read_outputs
from edgelm.runtime.bundle import Bundle, open_bundle
from edgelm.runtime.early import behind
from edgelm.runtime.graph_spec import ROLES
from edgelm.runtime.inputs.batch import Batch
from edgelm.runtime.inputs.text import TextProcessor, load_text_processor
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.native import is_wanted
from edgelm.runtime.provider import Opened, open_session

_MOST_ROWS = 64  # sequences of one call of the graph, where a sample may have any number of them


class Model:
    """A bundle that is ready to answer.

    Calling it does three steps that can also be taken one by one: `tokenize`, `infer`, `read`.
    """

    def __init__(self, opened: Opened, encoder: TextProcessor) -> None:
        self.manifest: Manifest = encoder.manifest
        self.opened = opened
        self.session = session = opened.session
        self._encoder = encoder
        self._outputs = _output_names(encoder.manifest)
        self._run = session.run

    @property
    def padded(self) -> bool:
        """Whether texts of unlike lengths may go into one call of the graph: it reads a mask."""
        return self._encoder.padded

    @property
    def reads_by(self) -> str:
        """What makes tokens of texts, in one line: edgelm-native, or tokenizers and why not edgelm-native."""
        return self._encoder.reads_by

    @property
    def reads_natively(self) -> bool:
        """Whether edgelm-native makes them."""
        return self._encoder.is_native

    def __call__(self, samples: Any) -> Any:
        """Answer one sample, or a list of them at once.

        Args:
            samples: a sample is a `str`, a tuple or a dictionary, as its task has it: see
                `edgelm.runtime.inputs.samples.check_sample`.

        Returns:
            an answer, or a list of answers; see `edgelm.runtime.answers`.

        Raises:
            UsageError: samples of a kind that the model does not take.
            DataError: samples that cannot be answered.
        """
        single = isinstance(samples, (str, tuple, dict))
        rows: list[Any] = [samples] if single else list(samples)
        if not rows:
            return []
        calls = (
            [rows] if self._encoder.padded else [[row] for row in rows]
        )  # a graph without a mask reads one text at a time
        answers = []
        for call in calls:
            batch = self.tokenize(call)
            answers += self.read(self.infer(batch), batch)
        return answers[0] if single else answers

    def tokenize(self, samples: Sequence[Any]) -> Batch:
        """The graph's inputs, each (sequences, tokens), int64: as `edgelm.runtime.inputs.text.TextProcessor` makes
        them.

        Raises:
            UsageError: samples of a kind that the model does not take, or of unlike lengths, for a graph that reads no
                mask.
            DataError: samples that cannot be answered.
        """
        return self._encoder(samples)

    def infer(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Run the graph, float32.

        Returns:
            (sequences, labels) logits or (sequences, hidden) sentence vectors; of tokens (sequences, tokens, labels);
            of question answering (sequences, tokens, 2), where an answer begins and where it ends.

        Raises:
            BundleError: the graph fails, for instance at a token that its embeddings do not have, or gives what is no
                output of the task.
            DataError: it fails at a text without tokens.
        """
        rows = len(next(iter(feeds.values())))
        if isinstance(feeds, Batch) and feeds.samples < rows > _MOST_ROWS:
            parts = range(0, rows, _MOST_ROWS)
            return np.concatenate(
                [self.infer({name: values[at : at + _MOST_ROWS] for name, values in feeds.items()}) for at in parts]
            )
        try:
            results = self._run(self._outputs, dict(feeds))
            result: np.ndarray = results[0]
            if len(results) > 1 and all(other.shape == result.shape for other in results):
                result = np.stack(results, axis=-1)
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
        tokens = next(iter(feeds.values())).shape[-1]
        check_outputs(self.manifest.task, result, rows=rows, tokens=tokens)
        return result

    def read(self, outputs: np.ndarray, batch: Batch | None = None) -> list[Answer]:
        """Answers from outputs, one a sample.

        Args:
            batch: what the outputs are of; may be left out for text classification and sentence embeddings.

        Raises:
            UsageError: it is missing.
            BundleError: an output is no finite number.
        """
        return read_outputs(self.manifest.task, outputs, batch)


def _output_names(manifest: Manifest) -> list[str]:
    """What the graph is asked for: the outputs of the roles that the task reads.

    Raises:
        BundleError: one is missing.
    """
    graph, wanted = manifest.graph(), [ROLES[name] for name in manifest.task.output_names]
    if missing := [role for role in wanted if not graph.names(role)]:
        raise BundleError(
            f"the manifest has no output for {' and none for '.join(missing)}; {manifest.task.kind} needs "
            f"{' and '.join(wanted)}.",
            hint="Export the bundle again.",
        )
    return [graph.find(role).name for role in wanted]


def load(
    path: str | Path | Bundle, *, threads: int | None = None, provider: str | None = None, check_hashes: bool = True
) -> Model:
    """Load a bundle of a model that writes no text; `edgelm.runtime.load` loads any.

    The SHA-256 of every file that answers depend on (graph, weights, tokenizer, engine) is compared with the manifest's
    before the file is used; a folder's weights, which are mapped, before the model is given out. Who can write to the
    bundle then or later can still change them.

    Args:
        path: a bundle folder, its single-file form, or a bundle that is open already.
        threads: for one operator; None: as the bundle says, else one a core.
        provider: what must run it, such as `cpu`; None: what the bundle's device prefers and is there, see
            `edgelm.runtime.provider`. With `cpu` edgelm-native reads no texts either.
        check_hashes: False: sizes alone are compared, for a device where hashing takes too long. A bundle that is open
            already keeps its own.

    Raises:
        BundleError: broken, changed, or made by a newer edgelm.
        UsageError: the provider is not there, or the model writes text.
    """
    bundle = path if isinstance(path, Bundle) else open_bundle(path, check_hashes=check_hashes)
    if bundle.manifest.task.generates:
        raise UsageError(
            f"{bundle.path}: a model for {bundle.manifest.task.kind} writes text and gives no answers of another kind.",
            hint="Load it with edgelm.runtime.load.",
        )
    elsewhere = any(graph.engines for graph in bundle.manifest.graphs) or (provider != "cpu" and is_wanted(bundle))
    if not elsewhere:
        import onnxruntime  # noqa: F401  # not in the block below, whose head start is for the session alone
    read = functools.partial(load_text_processor, bundle, native=provider != "cpu")
    with bundle.hashing_early(), behind(read) as reading:
        opened = open_session(bundle, threads=threads, provider=provider)
    return Model(opened, reading.result())
