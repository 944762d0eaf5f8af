"""Golden samples: inputs with the outputs that they must give, so that a device can prove itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgelm.errors import BundleError
from edgelm.runtime.manifest import GOLDEN_FILE


@dataclass(frozen=True)
class Golden:
    """What a device replays.

    Attributes:
        texts: one text a sample, or [first, second].
        inputs: per sample the graph's inputs by name, nested lists of shape (1, tokens).
        outputs: per sample the expected output, nested lists of shape (1, width).
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
            BundleError: not golden samples.
        """
        try:
            golden = cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise BundleError(f"{GOLDEN_FILE}: not golden samples ({error}).", hint="Export the bundle again.") from error
        if not len(golden.texts) == len(golden.inputs) == len(golden.outputs):
            raise BundleError(f"{GOLDEN_FILE}: texts, inputs and outputs are not equally many.", hint="Export the bundle again.")
        return golden

    def feeds(self, index: int) -> dict[str, np.ndarray]:
        """The inputs of one sample as arrays."""
        return {name: np.asarray(values, dtype=np.int64) for name, values in self.inputs[index].items()}
