"""Sequences whose targets a generator is judged by, and the logits that PyTorch and graphs give for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from edgelm.data.encoding import Encoded
from edgelm.data.written import DECODED
from edgelm.runtime.generation.reading import Reading

_PIECE = 256  # tokens of one call: the logits of so many lie in memory at once


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
    tokens = torch.from_numpy(sequence.tokens)[None]
    given = {"input_ids": tokens}
    if sequence.source is not None:
        given = {"input_ids": torch.tensor([sequence.source]), "decoder_input_ids": tokens}
    with torch.inference_mode():
        logits = model(**given, use_cache=False).logits[0]
    found: np.ndarray = logits[torch.from_numpy(sequence.places)].float().numpy()
    return found


def graph_logits(reading: Reading, sequence: TargetSequence) -> np.ndarray:
    """(n, vocabulary) float32 of graphs, one row a target."""
    reading.begin(1, None if sequence.source is None else [sequence.source])
    return np.concatenate(list(_pieces(reading, sequence)))


def token_scores(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(n, 2) float32: the likeliest token, and the loss on the right one; as `edgelm.compress.evaluate` keeps them."""
    most = logits.max(axis=1)
    sums = np.log(np.exp(logits - most[:, None]).sum(axis=1)) + most
    return np.stack([logits.argmax(axis=1), sums - logits[np.arange(len(targets)), targets]], axis=1).astype(np.float32)


def _pieces(reading: Reading, sequence: TargetSequence) -> Iterator[np.ndarray]:
    for begin in range(0, len(sequence.tokens), _PIECE):
        ids = sequence.tokens[None, begin : begin + _PIECE]
        wanted = sequence.places[(sequence.places >= begin) & (sequence.places < begin + _PIECE)] - begin
        # A call asks for one place at least; what was not wanted is thrown away.
        given = reading.decoder.step(ids, wanted=(wanted if len(wanted) else np.zeros(1, dtype=np.int64))[None])
        yield given[0, : len(wanted)].copy()  # the next step writes over it
