"""Models that write, as transformers runs them: their settings, and what they are refused for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig, PreTrainedModel
from transformers.generation.utils import ALL_CACHE_NAMES
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from edgelm.anatomy.families.table import family_of
from edgelm.anatomy.weights import State
from edgelm.checkpoint import Checkpoint
from edgelm.errors import ModelError
from edgelm.model_folder.generators import READERS
from edgelm.model_folder.gguf import quickly_read
from edgelm.tasks.generation import Generation
from edgelm.tasks.task import Task
from edgelm.tasks.text import TextClassification


def generation_config(task: Task, **changes: Any) -> GenerationConfig:
    """A task's settings as transformers' `generate` takes them.

    Args:
        changes: entries that are set otherwise.

    Returns:
        entries that change nothing are left out, so that the file of a saved model says no more than it must.
    """
    if not isinstance(task, Generation):
        raise TypeError(f"{task.kind} generates nothing")
    own = task.settings
    entries: dict[str, Any] = {
        "max_new_tokens": own.max_new_tokens,
        "min_new_tokens": own.min_new_tokens or None,
        "num_beams": own.num_beams,
        "do_sample": own.do_sample,
        "repetition_penalty": None if own.repetition_penalty == 1 else own.repetition_penalty,
        "no_repeat_ngram_size": own.no_repeat_ngram_size or None,
        "eos_token_id": list(own.eos_ids) if len(own.eos_ids) > 1 else next(iter(own.eos_ids), None),
        "pad_token_id": own.pad_id,
        "decoder_start_token_id": own.decoder_start_id,
        "forced_bos_token_id": own.forced_bos_id,
        "forced_eos_token_id": own.forced_eos_id,
        "bad_words_ids": [[token] for token in own.bad_ids] or None,
        "stop_strings": list(own.stop) or None,
    }
    if own.num_beams > 1:
        entries |= {"length_penalty": own.length_penalty, "early_stopping": own.early_stopping}
    if own.do_sample:
        drawn = {"temperature": own.temperature, "top_k": own.top_k, "top_p": own.top_p}
        entries |= drawn | ({"min_p": own.min_p} if own.min_p else {})
    kept = {name: value for name, value in (entries | changes).items() if value is not None}
    return GenerationConfig(**kept)


def empty_cache(model: PreTrainedModel) -> dict[str, Any]:
    """What a call of transformers' `generate` is given for its cache: of an encoder-decoder one that takes as many
    layers as write to it. transformers 5 makes as many as T5's encoder has, which may be fewer after a cut."""
    if not model.config.is_encoder_decoder:
        return {}
    name = ALL_CACHE_NAMES[0]  # past_key_values, since some release "cache"
    return {name: EncoderDecoderCache(DynamicCache(), DynamicCache())}


def prompt_batch(prompts: Sequence[Sequence[int]], filling: int, *, behind: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of a batch of prompts, (prompts, longest).

    Args:
        filling: the id that stands where a prompt is shorter.
        behind: the model writes behind them, so they end together, as those of a decoder; else they begin together.
    """
    width = max(map(len, prompts))
    ids, mask = torch.full((len(prompts), width), filling), torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        place = slice(width - len(prompt), None) if behind else slice(0, len(prompt))
        ids[row, place] = torch.tensor(prompt)
        mask[row, place] = 1
    return ids, mask


def until_end(tokens: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Tokens up to the first that ends a text; what stands behind it fills up a batch."""
    last = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[: last + 1])


def gguf_weights(file: Path, shape: PreTrainedModel) -> State:
    """The weights of a GGUF file by the model's own names, as floats.

    Args:
        shape: the model that they are for; its values are not read.
    """
    with quickly_read(file) as slim:
        found: State = load_gguf_checkpoint(str(slim), return_tensors=True, model_to_load=shape)["tensors"]
    return found


def refuse_generator(checkpoint: Checkpoint, task: Task) -> None:
    """Refuse a generator where a model with another head is needed.

    Raises:
        ModelError: the checkpoint writes texts, the task does not.
    """
    reads = checkpoint.family in READERS and isinstance(task, TextClassification)
    if checkpoint.task.generates and not task.generates and not reads:
        raise ModelError(
            f"{checkpoint.path}: a {checkpoint.family} model writes texts; edgelm has no head for {task.kind} on it.",
            hint=f"Give an encoder for {task.kind}, or one of the tasks that it can do: --task {checkpoint.task.kind}.",
        )


def require_family(checkpoint: Checkpoint, task: Task) -> None:
    """Refuse a model that reads texts and of whose architecture nothing is known.

    Raises:
        UnsupportedFamily: neither an encoder with an anatomy, nor a decoder that serves as one.
        ModelError: a decoder as classifier, whose answer stands at the last token, that names no padding.
    """
    if checkpoint.family not in READERS:
        family_of(checkpoint.family)
    elif isinstance(task, TextClassification) and checkpoint.config.get("pad_token_id") is None:
        raise ModelError(
            f"{checkpoint.path}: config.json names no pad_token_id, so nothing says where a text of a batch ends.",
            hint="Set it to the id of the tokenizer's padding token.",
        )
