"""The graphs of a draft as the runtime runs them, before there is a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgelm.errors import ModelError
from edgelm.export.draft import Draft
from edgelm.runtime.generation.beams import search_beams
from edgelm.runtime.generation.decoder import DECODER, ENCODER, Decoder, SourceEncoder
from edgelm.runtime.generation.reading import Reading
from edgelm.runtime.generation.strategies import write_tokens
from edgelm.tasks.generation import Generation, GenerationSettings

_AT_ONCE = 8  # texts


def generation_of(draft: Draft) -> Generation:
    """The draft's task, which is to write.

    Raises:
        ModelError: it is another.
    """
    task = draft.source.task
    if not isinstance(task, Generation):
        raise ModelError(f"a model for {task.kind} writes no text.", hint="Give its task with --task.")
    return task


def read_with(draft: Draft) -> Reading:
    """What reads prompts by the draft's graphs."""
    graphs = {graph.spec.name: graph for graph in draft.graphs}
    settings, last = generation_of(draft).settings, graphs[DECODER]
    encoder = None
    if ENCODER in graphs:
        first = graphs[ENCODER]
        encoder = SourceEncoder(first.session, first.spec, last.spec)
    limited = encoder is None or last.spec.names("positions")
    decoder = Decoder(last.session, last.spec, context=draft.source.max_length if limited else 0)
    return Reading(decoder, encoder, start_id=settings.decoder_start_id or 0, pad_id=settings.pad_id or 0)


def write_texts(
    reading: Reading, tokenizer: Any, prompts: Sequence[list[int]], settings: GenerationSettings
) -> list[str]:
    """What is written for each prompt of tokens, or for each source of an encoder-decoder."""
    texts = []
    size = max(1, _AT_ONCE // settings.num_beams)
    for begin in range(0, len(prompts), size):
        rows, logits = reading(prompts[begin : begin + size], settings, first=begin)
        if settings.num_beams > 1:
            search_beams(reading.decoder, rows, logits, settings)
        else:
            for _ in write_tokens(reading.decoder, rows, logits, settings):
                pass
        texts += [tokenizer.decode(row.written, skip_special_tokens=True).strip() for row in rows]
    return texts
