"""Does the graph compute what the checkpoint computes? Compared on real texts, one by one and in padded batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelm.errors import ParityError
from edgelm.export.samples import Samples, graph_rows
from edgelm.graph.unpadded import MASK
from edgelm.metrics.rows import is_real
from edgelm.metrics.scores import agreement
from edgelm.precision import precision_of
from edgelm.runtime.graph_spec import Parity


def check_parity(session: Any, wanted: np.ndarray, samples: Samples, *, precision: str) -> Parity:
    """Compare a graph with its checkpoint.

    Args:
        wanted: (rows, width) of the checkpoint for the samples.

    Raises:
        ParityError: it is too far off: by the largest error for floats, by the share of changed answers for integers.
    """
    judged = precision_of(precision)
    tolerance, integers = judged.tolerance, judged.judged_by == "answers"
    found = graph_rows(session, samples)
    runs = [found]
    masked = any(value.name == MASK for value in session.get_inputs())
    if (
        not integers and masked
    ):  # integer ranges are fixed, but the products' sums are exact: batches can only differ where floats do
        runs.append(graph_rows(session, samples, batch_size=8))
    real = is_real(wanted)
    errors = np.abs(np.concatenate([run[real] - wanted[real] for run in runs]))
    parity = Parity(
        samples=len(samples.texts),
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        changed=round(1 - agreement(samples.task, found, wanted), 6),
        tolerance=tolerance,
    )
    bad = (
        parity.changed > tolerance
        if integers
        else not parity.max_error <= tolerance * max(1.0, float(np.abs(wanted[real]).max()))
    )
    if bad or not np.isfinite(found).all():
        measure = (
            f"{parity.changed:.1%} of the answers change" if integers else f"an output is off by {parity.max_error:.2g}"
        )
        hint = (
            "Give texts of your own with --calibration, a bound with --max-drop, or --precision fp16."
            if integers
            else "Export with --precision fp32."
        )
        raise ParityError(
            f"the {precision} graph does not agree with the checkpoint on {len(samples.texts)} texts: {measure}, "
            f"accepted {tolerance:.2g}.",
            hint=hint,
        )
    return parity
