"""Sequences whose targets a generator is judged by, and the logits that PyTorch and graphs give for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from edgelm.anatomy.token_head import read_states, token_head
from edgelm.compress.distillation.chunked_rows import CHUNK
from edgelm.compress.evaluate import token_scores
from edgelm.data.encoding import Encoded
from edgelm.data.written import DECODED
from edgelm.runtime.generation.reading import Reading


@dataclass(frozen=True)
class TargetSequence:
    """One sequence, of which some tokens are judged.

    Attributes:
        tokens: what the decoder reads, (tokens,) int64.
        places: of the tokens whose outputs count, (n,) int64, increasing.
        targets: the right token behind each of them, (n,) int64.
        source: what an encoder reads before; None for a decoder alone.
    """

    tokens: np.ndarray
    places: np.ndarray
    targets: np.ndarray
    source: list[int] | None = None


def sequences_of(encoded: Encoded) -> list[TargetSequence]:
    """What `edgelm.data.written.encode_written` made of rows; those without a target are left out."""
    found = []
    for number, counted in enumerate(encoded.counted):
        places = np.flatnonzero(counted)
        if not len(places):
            continue
        own = encoded.columns.get(DECODED)
        read = encoded.columns["input_ids"][number]
        tokens = np.asarray(read if own is None else own[number], dtype=np.int64)
        targets = np.asarray(encoded.originals[number], dtype=np.int64)[places]
        found.append(TargetSequence(tokens, places, targets, None if own is None else list(read)))
    return found


def continuation(prompt: list[int], written: list[int], *, start: int | None) -> TargetSequence:
    """The sequence of a prompt and what was written behind it, all of which is judged.

    Args:
        prompt: of a decoder alone; or the source of an encoder-decoder.
        start: what the decoder of an encoder-decoder begins with; None for a decoder alone.
    """
    before = prompt if start is None else [start]
    tokens = np.asarray([*before, *written[:-1]], dtype=np.int64)
    places = np.arange(len(before) - 1, len(tokens), dtype=np.int64)
    targets = np.asarray(written, dtype=np.int64)
    return TargetSequence(tokens, places, targets, None if start is None else prompt)


def torch_logits(model: PreTrainedModel, sequence: TargetSequence) -> np.ndarray:
    """(n, vocabulary) float32 of a model of transformers, one row a target."""
    with torch.inference_mode():
        logits = model(**_given(sequence), use_cache=False).logits[0]
    found: np.ndarray = logits[torch.from_numpy(sequence.places)].float().numpy()
    return found


def graph_logits(reading: Reading, sequence: TargetSequence) -> np.ndarray:
    """(n, vocabulary) float32 of graphs, one row a target."""
    parts = reading.logits_at(sequence.tokens, sequence.places, source=sequence.source)
    return np.concatenate([logits.copy() for _, logits in parts])  # the next part writes over it


def torch_scores(model: PreTrainedModel, sequence: TargetSequence) -> np.ndarray:
    """What `token_scores` keeps of a model's rows, (n, 2): the logits of a few rows at a time are in memory."""
    head, given = token_head(model), _given(sequence)
    targets = torch.from_numpy(sequence.targets)
    counted = torch.zeros(1, len(sequence.tokens))
    counted[0, torch.from_numpy(sequence.places)] = 1
    with torch.inference_mode():
        states, _ = read_states(model, given, counted)
        rows = max(1, CHUNK // head.vocabulary)
        parts = zip(states.split(rows), targets.split(rows), strict=True)
        return np.concatenate([token_scores(head(part).float(), right).numpy() for part, right in parts])


def graph_scores(reading: Reading, sequence: TargetSequence) -> np.ndarray:
    """The same of graphs."""
    parts = reading.logits_at(sequence.tokens, sequence.places, source=sequence.source)
    targets = torch.from_numpy(sequence.targets)
    return np.concatenate([token_scores(torch.from_numpy(logits), targets[part]).numpy() for part, logits in parts])


def _given(sequence: TargetSequence) -> dict[str, torch.Tensor]:
    """What a model of transformers reads."""
    tokens = torch.from_numpy(sequence.tokens)[None]
    if sequence.source is None:
        return {"input_ids": tokens}
    return {"input_ids": torch.tensor([sequence.source]), DECODED: tokens}
