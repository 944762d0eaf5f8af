"""Does the graph compute what the checkpoint computes? Compared on real texts, one by one and in padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgelm.anatomy import model_outputs
from edgelm.errors import ParityError
from edgelm.graph.unpadded import MASK
from edgelm.metrics.scores import agreement
from edgelm.runtime.manifest import Parity
from edgelm.tasks.task import Task

Text = "str | tuple[str, str]"

# FP32: another order of sums. FP16, BF16: ten and seven bits, relative to the largest output. Integers: judged by
# changed answers.
TOLERANCES = {
    "fp32": 1e-3,
    "fp16": 1e-2,
    "bf16": 5e-2,
    "int8": 0.05,
    "int8-dynamic": 0.05,
    "int8-weights": 0.05,
    "int4": 0.1,
}


def encode(tokenizer: Any, task: Task, texts: Sequence[Any], *, max_length: int) -> dict[str, np.ndarray]:
    """Texts behind the task's prompt as the graph's inputs, int64 (texts, tokens), padded behind to the longest.

    Padding before a text would move its places.
    """
    texts = task.prompted(texts)
    encoded = tokenizer(
        texts, padding=True, padding_side="right", truncation=True, max_length=max_length, return_tensors="np"
    )
    return {name: np.asarray(encoded[name], dtype=np.int64) for name in tokenizer.model_input_names}


def torch_outputs(
    model: PreTrainedModel, tokenizer: Any, task: Task, texts: Sequence[Any], *, max_length: int
) -> np.ndarray:
    """The checkpoint's outputs, text by text."""
    rows = []
    with torch.inference_mode():
        for text in texts:
            inputs = {
                name: torch.from_numpy(values)
                for name, values in encode(tokenizer, task, [text], max_length=max_length).items()
            }
            rows.append(model_outputs(model, task, inputs)[0].numpy())
    return np.concatenate(rows)


def graph_outputs(
    session: Any, tokenizer: Any, task: Task, texts: Sequence[Any], *, max_length: int, batch_size: int = 1
) -> np.ndarray:
    """The graph's outputs, in batches padded to their longest text."""
    names = [value.name for value in session.get_inputs()]
    rows = []
    for start in range(0, len(texts), batch_size):
        feed = encode(tokenizer, task, texts[start : start + batch_size], max_length=max_length)
        rows.append(session.run(None, {name: feed[name] for name in names})[0])
    return np.concatenate(rows)


def check_parity(
    session: Any,
    wanted: np.ndarray,
    tokenizer: Any,
    task: Task,
    texts: Sequence[Any],
    *,
    precision: str,
    max_length: int,
) -> Parity:
    """Compare a graph with its checkpoint.

    Args:
        wanted: the checkpoint's outputs for the texts.

    Raises:
        ParityError: it is too far off: by the largest error for floats, by the share of changed answers for integers.
    """
    tolerance = TOLERANCES[precision]
    integers = precision.startswith("int")
    found = graph_outputs(session, tokenizer, task, texts, max_length=max_length)
    runs = [found]
    masked = any(value.name == MASK for value in session.get_inputs())
    if (
        not integers and masked
    ):  # integer ranges are fixed, but the products' sums are exact: batches can only differ where floats do
        runs.append(graph_outputs(session, tokenizer, task, texts, max_length=max_length, batch_size=8))
    errors = np.abs(np.concatenate(runs) - np.concatenate([wanted] * len(runs)))
    parity = Parity(
        samples=len(texts),
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        changed=round(1 - agreement(task, found, wanted), 6),
        tolerance=tolerance,
    )
    bad = (
        parity.changed > tolerance
        if integers
        else not parity.max_error <= tolerance * max(1.0, float(np.abs(wanted).max()))
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
            f"the {precision} graph does not agree with the checkpoint on {len(texts)} texts: {measure}, accepted "
            f"{tolerance:.2g}.",
            hint=hint,
        )
    return parity
