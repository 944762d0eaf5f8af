"""Makes the golden samples that a device replays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelm.anatomy import TaskModel
from edgelm.export.samples import encode, join_outputs
from edgelm.precision import precision_of
from edgelm.runtime.golden import Golden

_MOST_NUMBERS = 1_000_000  # of all outputs: about 20 MB of JSON


def make_golden(session: Any, source: TaskModel, texts: Sequence[Any], precision: str) -> Golden:
    """Samples for the device to replay.

    Other CPUs sum floats in another order (FP32, FP16, BF16), and an activation that falls on a rounding edge may take
    the neighbouring integer: the tolerances leave room for that, relative to the size of the outputs.
    """
    names = [value.name for value in session.get_inputs()]
    samples = [encode(source.tokenizer, source.task, [text], max_length=source.max_length) for text in texts]
    encoded = [sample.feed(range(len(sample.encoded))) for sample in samples]
    feeds = [{name: feed[name] for name in names} for feed in encoded]
    outputs = [join_outputs(session.run(None, feed)) for feed in feeds]
    sizes = np.cumsum([output.size for output in outputs])
    count = max(1, int((sizes <= _MOST_NUMBERS).sum()))  # a row a token, as wide as a vocabulary, is much to write down
    texts, feeds, outputs = texts[:count], feeds[:count], outputs[:count]
    scale = float(max(1.0, max(np.abs(output).max() for output in outputs)))
    inputs = [{name: values.tolist() for name, values in feed.items()} for feed in feeds]
    return Golden(
        texts=[list(text) if isinstance(text, tuple) else text for text in texts],
        inputs=inputs,
        outputs=[output.tolist() for output in outputs],
        tolerance=precision_of(precision).golden_tolerance * scale,
    )
