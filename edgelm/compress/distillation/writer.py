"""Token ids that a model writes behind prompts or for sources, in a batch: what teacher and student write in
training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel

from edgelm.anatomy.generators import empty_cache, generation_config, prompt_batch, until_end
from edgelm.tasks.generation import Generation, GenerationSettings, TextGeneration
from edgelm.training_settings import OnPolicySettings, WrittenSettings


def settings_of(task: Generation, asked: WrittenSettings | OnPolicySettings) -> GenerationSettings:
    """How a model writes in training: as the recipe asks, else by the settings of its task."""
    own = task.settings
    if isinstance(asked, OnPolicySettings):
        own = replace(own, num_beams=1, do_sample=True, temperature=asked.temperature, top_k=0, top_p=1.0, min_p=0.0)
        return _with_length(own, asked.max_new_tokens)
    if asked.method == "greedy":
        own = replace(own, num_beams=1, do_sample=False)
    elif asked.method == "beam":
        own = replace(own, num_beams=asked.num_beams, do_sample=False)
    elif asked.method == "sample":
        drawn = {"temperature": asked.temperature, "top_p": asked.top_p, "top_k": 0, "min_p": 0.0}
        own = replace(own, num_beams=1, do_sample=True, **drawn)  # type: ignore[arg-type]
    return own if asked.max_new_tokens is None else _with_length(own, asked.max_new_tokens)


def _with_length(settings: GenerationSettings, tokens: int) -> GenerationSettings:
    return replace(settings, max_new_tokens=tokens, min_new_tokens=min(settings.min_new_tokens, tokens))


def write_ids(
    model: PreTrainedModel,
    tokenizer: Any,
    task: Generation,
    prompts: Sequence[list[int]],
    settings: GenerationSettings,
    *,
    max_length: int,
) -> list[list[int]]:
    """What the model writes, without the prompts, and with the token that ends it where it came to an end.

    Args:
        prompts: token ids of prompts, or of sources.
        max_length: tokens of a whole text at most: of prompt and answer together, or of a target.
    """
    decoder = isinstance(task, TextGeneration)
    width = max(map(len, prompts))
    room = max(1, max_length - (width if decoder else 1))
    settings = _with_length(settings, min(settings.max_new_tokens, room))
    filling = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    device = next(model.parameters()).device
    ids, mask = prompt_batch(prompts, filling, behind=decoder)
    chosen = generation_config(replace(task, settings=replace(settings, stop=())), pad_token_id=filling)
    was_training = model.training
    model.eval()
    writer: Any = model
    try:
        with torch.no_grad():
            found = writer.generate(
                ids.to(device), attention_mask=mask.to(device), generation_config=chosen, **empty_cache(model)
            )
    finally:
        model.train(was_training)
    begin = width if decoder else 1
    return [until_end(row[begin:].tolist(), settings.eos_ids) for row in found.cpu()]
