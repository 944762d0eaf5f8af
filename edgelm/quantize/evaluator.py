"""What a graph is judged on: inputs, and the float graph's outputs for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgelm.graph.session import make_plain_session
from edgelm.metrics.rows import is_real, stack_rows
from edgelm.quantize.statistics import Feeds


def first_output(outputs: Sequence[np.ndarray], number: int) -> np.ndarray:
    """(rows, width) of a graph whose first output has one row a sample."""
    return outputs[0]


@dataclass(frozen=True)
class Evaluator:
    """Inputs to judge a graph on, with the rows that the float graph gives for them, (rows, width).

    Attributes:
        metric: from rows to the task's metric; None without labels.
        read: from a graph's outputs for the feed of this number to the rows that count.
    """

    feeds: Sequence[Feeds]
    wanted: np.ndarray
    metric: Callable[[np.ndarray], float] | None = None
    read: Callable[[Sequence[np.ndarray], int], np.ndarray] = first_output

    def outputs(self, graph: onnx.ModelProto) -> np.ndarray:
        """(rows, width) of a graph."""
        return self.run(make_plain_session(graph, exact=True))

    def run(self, session: Any) -> np.ndarray:
        """(rows, width) of a session."""
        return run_rows(session, self.feeds, self.read)

    def error(self, outputs: np.ndarray) -> float:
        """Squared error relative to the variance of what is wanted: the power of the noise over that of the signal."""
        real = is_real(self.wanted)
        wanted = self.wanted[real]
        return float(((outputs[real] - wanted) ** 2).mean() / max(float(wanted.var()), 1e-12))

    def score(self, outputs: np.ndarray) -> float | None:
        """The task's metric, where there are labels."""
        return None if self.metric is None else self.metric(outputs)


def run_rows(
    session: Any, feeds: Sequence[Feeds], read: Callable[[Sequence[np.ndarray], int], np.ndarray] = first_output
) -> np.ndarray:
    """(rows, width): what counts in a session's outputs for each of the feeds."""
    return stack_rows([read(session.run(None, feed), number) for number, feed in enumerate(feeds)])
