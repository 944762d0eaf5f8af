"""Golden samples of a generator: prompts with the tokens that it must write, and the logits of the first."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgelm.errors import BundleError
from edgelm.field_types import check_types
from edgelm.limits import read_json
from edgelm.runtime.manifest import GOLDEN_FILE
from edgelm.tasks.generation import GenerationSettings

if TYPE_CHECKING:
    from edgelm.runtime.generation.generator import Generator

_LIKELIEST = 32  # tokens whose logits are kept


@dataclass(frozen=True)
class GoldenText:
    """One prompt.

    Attributes:
        text: the prompt.
        prompt: its tokens.
        tokens: that follow, the likeliest each time; they end before the first whose lead over the second is so small
            that another order of sums could turn it round.
        likeliest: tokens with the largest logits behind the prompt, and those logits.
        total: the logarithm of the sum of the exponentials of all logits there: none of them can change unseen.
    """

    text: str
    prompt: list[int]
    tokens: list[int]
    likeliest: dict[str, float]
    total: float

    @classmethod
    def of(cls, text: str, prompt: Sequence[int], logits: np.ndarray, *, tolerance: float) -> GoldenText:
        """From the logits behind the prompt and behind each of the likeliest tokens after it.

        Args:
            logits: (tokens, vocabulary) float32, by an independent implementation.
            tolerance: largest difference of a logit that is accepted.
        """
        count = min(_LIKELIEST, logits.shape[1])
        order = np.argpartition(logits, -count, axis=-1)[:, -count:]  # to sort a large vocabulary takes seconds
        order = np.take_along_axis(order, np.argsort(-np.take_along_axis(logits, order, axis=-1), axis=-1), axis=-1)
        leads = np.take_along_axis(logits, order, axis=-1)
        sure = leads[:, 0] - leads[:, 1] > 2 * tolerance
        count = int(np.argmin(sure)) if not sure.all() else len(sure)
        first = {str(token): float(logits[0, token]) for token in order[0].tolist()}
        return cls(text, list(prompt), order[:count, 0].tolist(), first, _log_sum(logits[0]))


@dataclass(frozen=True)
class GenerationGolden:
    """What a device replays.

    Attributes:
        samples: at least one.
        tolerance: largest absolute difference of a logit that is accepted.
    """

    samples: tuple[GoldenText, ...]
    tolerance: float

    def to_json(self) -> str:
        """The text of `golden.json`."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> GenerationGolden:
        """The inverse of `to_json`.

        Raises:
            BundleError: not golden samples of a generator, none at all, or a tolerance that every answer would pass.
        """
        try:
            values = read_json(text, GOLDEN_FILE)
            check_types(cls, values, GOLDEN_FILE)
            golden = cls(tuple(GoldenText(**sample) for sample in values["samples"]), float(values["tolerance"]))
            ids = [int(token) for sample in golden.samples for token in sample.likeliest]
            ids += [token for sample in golden.samples for token in (*sample.prompt, *sample.tokens)]
        except (ValueError, TypeError, KeyError) as error:
            raise BundleError(
                f"{GOLDEN_FILE}: not golden samples of a generator ({error}).", hint="Export the bundle again."
            ) from error
        if not golden.samples or not all(sample.prompt and sample.likeliest for sample in golden.samples):
            raise BundleError(f"{GOLDEN_FILE}: there is nothing to replay.", hint="Export the bundle again.")
        if not (math.isfinite(golden.tolerance) and golden.tolerance >= 0) or min(ids) < 0:
            raise BundleError(
                f"{GOLDEN_FILE}: a tolerance of {golden.tolerance}, or a token below 0.",
                hint="Export the bundle again.",
            )
        return golden


def largest_difference(generator: Generator, golden: GenerationGolden) -> float:
    """Of a loaded generator's first logits from the golden ones; infinity, where one is not finite.

    Raises:
        BundleError: a prompt is tokenized differently here, or other tokens are written.
    """
    worst = 0.0
    for index, sample in enumerate(golden.samples):
        if generator.reader(sample.text) != sample.prompt:
            raise BundleError(
                f"golden sample {index} is tokenized differently here.",
                hint="Install the tokenizers version of the manifest.",
            )
        logits = generator.first_logits(sample.prompt)
        ids = [int(token) for token in sample.likeliest]
        if max(ids) >= len(logits):
            raise BundleError(
                f"golden sample {index}: the graph gives {len(logits):,} logits, too few.",
                hint="Export the bundle again.",
            )
        found = np.append(logits[ids], _log_sum(logits))
        difference = np.abs(found - [*sample.likeliest.values(), sample.total]).max()
        worst = max(worst, float(difference) if np.isfinite(difference) else float("inf"))
        if sample.tokens:
            greedy = GenerationSettings(max_new_tokens=len(sample.tokens))
            (row,) = generator.write([sample.prompt], greedy)
            if row.written != sample.tokens:
                raise BundleError(
                    f"golden sample {index}: the model writes {row.written}, expected {sample.tokens}.",
                    hint="Export the bundle again, or update onnxruntime.",
                )
    return worst


def _log_sum(logits: np.ndarray) -> float:
    most = float(logits.max())
    return most + float(np.log(np.exp(logits.astype(np.float64) - most).sum()))
