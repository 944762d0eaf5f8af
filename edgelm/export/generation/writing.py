"""The graphs of a draft as the runtime runs them, before there is a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgelm.errors import ModelError
from edgelm.export.draft import Draft
from edgelm.runtime.generation.reading import Reading
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
    graphs = {graph.spec.name: (graph.session, graph.spec) for graph in draft.graphs}
    return Reading.of(graphs, generation_of(draft).settings, context=draft.source.max_length)


def write_texts(
    reading: Reading, tokenizer: Any, prompts: Sequence[list[int]], settings: GenerationSettings
) -> list[str]:
    """What is written for each prompt of tokens, or for each source of an encoder-decoder."""
    texts = []
    size = max(1, _AT_ONCE // settings.num_beams)
    for begin in range(0, len(prompts), size):
        rows = reading.write(prompts[begin : begin + size], settings, first=begin)
        texts += [tokenizer.decode(row.written, skip_special_tokens=True).strip() for row in rows]
    return texts
