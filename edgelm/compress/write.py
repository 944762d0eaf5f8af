"""Texts that a model writes for sources, by PyTorch: what translations and summaries are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy.generators import empty_cache, generation_config
from edgelm.progress import Progress, silent
from edgelm.tasks.task import Task


def write(
    model: PreTrainedModel,
    tokenizer: Any,
    task: Task,
    sources: Sequence[str],
    *,
    max_length: int = 128,
    batch_size: int = 32,
    progress: Progress = silent,
) -> list[str]:
    """What an encoder-decoder writes for each source, by the settings of its task. Several processes share the work,
    and all get the texts.

    Args:
        max_length: tokens of a source at most; its end is left out.
    """
    longest = int(min(max_length, tokenizer.model_max_length))
    encoded = tokenizer(task.prompted(sources), truncation=True, max_length=longest)
    columns = {name: encoded[name] for name in tokenizer.model_input_names}
    order = np.argsort([len(ids) for ids in columns["input_ids"]], kind="stable").tolist()
    starts = range(0, len(order), batch_size)
    settings = generation_config(task, pad_token_id=tokenizer.pad_token_id)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    mine: list[list[str]] = []
    writer: Any = model
    with torch.inference_mode():
        for start in starts[processes.index() :: processes.count()]:
            chosen = order[start : start + batch_size]
            rows = {name: [values[number] for number in chosen] for name, values in columns.items()}
            batch = tokenizer.pad(rows, padding_side="right", return_tensors="pt").to(device)
            ids = writer.generate(**batch, generation_config=settings, **empty_cache(model))
            mine.append([text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)])
            progress("write", min(start + batch_size, len(order)), len(order))
    model.train(was_training)
    parts = processes.gather(mine)
    found = [text for number in range(len(starts)) for text in parts[number % len(parts)][number // len(parts)]]
    texts = [""] * len(order)
    for place, text in zip(order, found, strict=True):
        texts[place] = text
    return texts
