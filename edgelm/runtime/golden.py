"""Golden samples: inputs with the outputs that they must give, so that a device can prove itself."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgelm.errors import BundleError
from edgelm.field_types import check_types
from edgelm.limits import read_json
from edgelm.runtime.inputs.samples import as_sample, is_kept_sample
from edgelm.runtime.manifest import GOLDEN_FILE


@dataclass(frozen=True)
class Golden:
    """What a device replays.

    Attributes:
        texts: one sample each: a text, or lists of texts where the task has tuples (see
            `edgelm.runtime.inputs.samples`).
        inputs: per sample the graph's inputs by name, nested lists of shape (sequences, tokens).
        outputs: per sample what `Model.infer` must give, nested lists of shape (sequences, width), or (sequences,
            tokens, width) where each token has a row.
        tolerance: largest absolute difference that is accepted.
    """

    texts: list[Any]
    inputs: list[dict[str, Any]]
    outputs: list[Any]
    tolerance: float

    def to_json(self) -> str:
        """The text of `golden.json`."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Golden:
        """The inverse of `to_json`.

        Raises:
            BundleError: not golden samples, none at all, or a tolerance that every answer would pass.
        """
        try:
            values = read_json(text, GOLDEN_FILE)
            check_types(cls, values, GOLDEN_FILE)
            golden = cls(**values)
        except (ValueError, TypeError) as error:
            raise BundleError(
                f"{GOLDEN_FILE}: not golden samples ({error}).", hint="Export the bundle again."
            ) from error
        if trouble := golden._trouble():
            raise BundleError(f"{GOLDEN_FILE}: {trouble}.", hint="Export the bundle again.")
        return golden

    def _trouble(self) -> str:
        """Why these samples prove nothing, in words; empty where they do."""
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            return f"the tolerance is {self.tolerance}, no number of at least zero"
        if not len(self.texts) == len(self.inputs) == len(self.outputs):
            return "texts, inputs and outputs are not equally many"
        if not self.texts:
            return "there are no samples"
        for index in range(len(self.texts)):
            if not is_kept_sample(self.texts[index]):
                return f"text {index} is neither a text nor a pair, nor another sample of texts"
            if (
                not all(_is_array(values, (2,), whole=True) for values in self.inputs[index].values())
                or not self.inputs[index]
            ):
                return f"inputs {index} are not token ids"
            if not _is_array(self.outputs[index], (2, 3), whole=False):
                return f"output {index} is not a row of numbers"
        return ""

    def sample(self, index: int) -> Any:
        """One sample as a model takes it."""
        return as_sample(self.texts[index])

    def feeds(self, index: int) -> dict[str, np.ndarray]:
        """The inputs of one sample as arrays."""
        return {name: np.asarray(values, dtype=np.int64) for name, values in self.inputs[index].items()}


def _is_array(values: Any, axes: tuple[int, ...], *, whole: bool) -> bool:
    """Whether these are numbers with as many axes, none of them empty; `whole`: that fit into int64."""
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        return False
    return array.ndim in axes and array.size > 0 and (array.dtype == np.int64 if whole else array.dtype.kind in "if")
