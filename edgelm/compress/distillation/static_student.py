"""Static embeddings: what a teacher says of each token alone, as the beginning of a student without layers.

Each token's vector is the teacher's output for that token between its special tokens, on the axes along which these
outputs differ most (PCA), shortened where the token is frequent (SIF, Arora, Liang and Ma 2017). So begins Model2Vec
(Tulkens and van Dongen 2024, https://github.com/MinishLab/model2vec).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgelm.anatomy import TaskModel
from edgelm.anatomy.layers import base_model
from edgelm.anatomy.sizes import text_limit
from edgelm.anatomy.static_model import make_static
from edgelm.compress.vocabulary.choose import count_tokens
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import all_texts
from edgelm.progress import Progress, silent
from edgelm.static_settings import StaticSettings

_BATCH = 256
_SIZE = 0.1  # root mean square of the vectors' numbers: small enough for training to move them


def static_student(
    teacher: TaskModel, settings: StaticSettings, rows: Dataset, *, progress: Progress = silent
) -> PreTrainedModel:
    """A model without layers that knows of each token what the teacher does, and whose head is not trained yet.

    Args:
        rows: training rows, which say how frequent tokens are.
    """
    states = token_states(teacher, progress=progress)
    vectors = principal_components(states, min(settings.width, states.shape[1]))
    if settings.sif is not None:
        counts = count_tokens(teacher.tokenizer, all_texts(rows))
        vectors = vectors * sif_weights(counts, len(vectors), settings.sif)[:, None]
    vectors = vectors * (_SIZE / vectors.square().mean().sqrt().clamp_min(1e-12))
    positions = text_limit(teacher.model.config.to_dict())
    return make_static(vectors, teacher.model, positions=positions, head=settings.head)


def token_states(teacher: TaskModel, *, progress: Progress = silent) -> torch.Tensor:
    """What the teacher's last layer gives for each token of the vocabulary by itself: the mean over the token and the
    special tokens around it, (tokens, hidden)."""
    before, after = _around(teacher.tokenizer)
    base = base_model(teacher.model.eval())
    count = int(teacher.model.config.vocab_size)
    found = []
    with torch.inference_mode():
        for start in range(0, count, _BATCH):
            tokens = torch.arange(start, min(start + _BATCH, count))[:, None]
            parts = [torch.tensor([ids]).expand(len(tokens), -1) for ids in (before, after)]
            ids = torch.cat([parts[0], tokens, parts[1]], dim=1).long().to(teacher.device)
            states = base(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            found.append(states.mean(dim=1).float().cpu())
            progress("teacher, token by token", min(start + _BATCH, count), count)
    return torch.cat(found)


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and behind every text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    first = special.index(0)
    last = len(special) - special[::-1].index(0)
    return ids[:first], ids[last:]


def principal_components(states: torch.Tensor, width: int) -> torch.Tensor:
    """(rows, hidden) around their mean, on the `width` axes along which they vary most: (rows, width)."""
    centred = (states - states.mean(dim=0)).double()
    _, axes = torch.linalg.eigh(centred.T @ centred)
    axes = axes[:, -width:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    return (centred @ (axes * largest.sign())).float()  # the same signs on every machine


def sif_weights(counts: np.ndarray, size: int, smooth: float) -> torch.Tensor:
    """`smooth / (smooth + p)` for tokens of frequency p: (size,).

    Args:
        counts: how often each token occurs, by id; ids beyond them never do.
    """
    found = np.zeros(size)
    found[: min(len(counts), size)] = counts[:size]
    shares = found / max(found.sum(), 1.0)
    return torch.from_numpy(smooth / (smooth + shares)).float()
