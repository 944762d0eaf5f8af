"""What a checkpoint is measured on where no bundle stands beside it: texts through its own tokenizer, or made-up
tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelm.anatomy import load_tokenizer
from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.data.encoding import encode_samples, padded
from edgelm.lengths import LONGEST_READ
from edgelm.profile.generation.worker import made_up
from edgelm.profile.inputs import Feeds, case_feeds, check_kind
from edgelm.profile.subject import Subject
from edgelm.tasks.text import MultipleChoice

_ENDINGS = 2  # of a text, where a checkpoint does not say how many it chooses from


def checkpoint_feeds(entry: Subject, texts: list[Any], grid: Sequence[tuple[int, int | None]]) -> list[list[Feeds]]:
    """The inputs of the calls of each case.

    Args:
        texts: samples as the checkpoint's task reads them, cut at what it reads and at 512 tokens, as an export cuts
            them; none: tokens are made up, as many as the case says.
        grid: texts in a call, and tokens of each; None: texts of their own lengths.

    Raises:
        DataError: samples of another kind than the task reads.
        ModelError: there is no tokenizer.
    """
    checkpoint = open_checkpoint(entry.path)
    tokenizer = load_tokenizer(checkpoint)
    if not texts:
        return [_made_up(checkpoint, batch, sequence) for batch, sequence in grid if sequence]
    check_kind(entry, checkpoint.task, texts[0])
    longest = min(entry.longest or LONGEST_READ, LONGEST_READ)

    def encode(group: list[Any]) -> dict[str, np.ndarray]:
        encoded = encode_samples(group, tokenizer, checkpoint.task, max_length=longest)
        return padded(encoded, range(len(encoded)), tokenizer)

    return [case_feeds(encode, texts, batch, sequence) for batch, sequence in grid]


def _made_up(checkpoint: Checkpoint, batch: int, sequence: int) -> list[Feeds]:
    """One call of so many texts, all of the same tokens."""
    task = checkpoint.task
    rows = batch * ((task.choices or _ENDINGS) if isinstance(task, MultipleChoice) else 1)
    ids = made_up(sequence, int(checkpoint.config["vocab_size"]))
    return [{"input_ids": [ids] * rows, "attention_mask": [[1] * sequence] * rows}]
