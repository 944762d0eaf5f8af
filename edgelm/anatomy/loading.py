"""From a Checkpoint to a living PreTrainedModel and back, whatever shape each layer has."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, PreTrainedModel

from edgelm.anatomy.blocks import blocks, layer_shapes
from edgelm.anatomy.families import family_of
from edgelm.anatomy.tokenizer import load_tokenizer
from edgelm.checkpoint import Checkpoint, Record, open_checkpoint, weight_files
from edgelm.errors import ModelError
from edgelm.task import Task


def load_checkpoint(checkpoint: Checkpoint | str | Path, *, allow_pickle: bool = False) -> PreTrainedModel:
    """Build the model of a checkpoint, in FP32 and eval mode.

    Args:
        checkpoint: an open checkpoint, or its folder.
        allow_pickle: load `pytorch_model.bin` (weights only) where there is no safetensors file.

    Returns:
        a `PreTrainedModel`: a sequence classifier, or the bare encoder for sentence embeddings.

    Raises:
        ModelError: files missing or broken, or weights that do not fit the configuration.
        UnsupportedFamily: the architecture has no anatomy.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint, allow_pickle=allow_pickle)
    family_of(checkpoint.family)
    with _quiet(), _translated(checkpoint.path):
        if checkpoint.record.layers:
            model = _load_cut(checkpoint)
        else:
            safe = bool(weight_files(checkpoint.path))
            model = _auto_class(checkpoint.task).from_pretrained(checkpoint.path, local_files_only=True, use_safetensors=safe, dtype=torch.float32)
    return model.eval()


def load_backbone(checkpoint: Checkpoint, task: Task) -> PreTrainedModel:
    """Build a model for `task` on the encoder of a checkpoint; a head that does not fit is made anew, at random.

    Raises:
        ModelError, UnsupportedFamily: as `load_checkpoint`.
    """
    family_of(checkpoint.family)
    if task.kind == "sentence-embedding":
        return load_checkpoint(checkpoint)
    with _quiet(), _translated(checkpoint.path):
        if checkpoint.record.layers:
            model = _cut_backbone(checkpoint, task)
        else:
            model = AutoModelForSequenceClassification.from_pretrained(
                checkpoint.path,
                local_files_only=True,
                use_safetensors=bool(weight_files(checkpoint.path)),
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                **head_config(task),
            )
    return model.eval()


def load_masked_lm(checkpoint: Checkpoint) -> PreTrainedModel:
    """Build a masked language model, of any architecture that transformers has, in FP32 and eval mode.

    Raises:
        ModelError: as `load_checkpoint`; also a model whose head is missing, or whose tokenizer has no mask.
    """
    with _quiet(), _translated(checkpoint.path):
        model, report = AutoModelForMaskedLM.from_pretrained(
            checkpoint.path, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    if report["missing_keys"]:
        raise ModelError(
            f"{checkpoint.path}: no masked language model: it lacks {', '.join(sorted(report['missing_keys'])[:2])}.",
            hint="Give the pretrained encoder with its language-model head, such as a BertForMaskedLM.",
        )
    if load_tokenizer(checkpoint).mask_token_id is None:
        raise ModelError(f"{checkpoint.path}: the tokenizer has no mask token.", hint="Give a model that was trained to fill in masks.")
    return model.eval()


def head_config(task: Task) -> dict[str, Any]:
    """The entries of a Hugging Face configuration that describe a task's head."""
    problem = {"single-label": "single_label_classification", "multi-label": "multi_label_classification", "regression": "regression"}[task.problem]
    return {"id2label": dict(enumerate(task.labels)), "label2id": {name: i for i, name in enumerate(task.labels)}, "problem_type": problem}


def save_checkpoint(folder: Path, model: PreTrainedModel, tokenizer: Any, record: Record) -> None:
    """Write a checkpoint: config.json, model.safetensors, tokenizer files, edgelm.json with the shape of each layer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    replace(record, layers=_shapes_to_record(model, record)).write(folder)


def _shapes_to_record(model: PreTrainedModel, record: Record) -> tuple[Any, ...]:
    """Present shapes, with the kept heads of the record where they still tell the truth; empty if all layers are as config.json says, and none
    before or among them is gone."""
    family = family_of(model.config.model_type)
    full = (getattr(model.config, family.config_heads), getattr(model.config, family.config_ffn))
    now = layer_shapes(model)
    known = record.layers if len(record.layers) == len(now) else ()
    if all((shape.heads, shape.ffn) == full for shape in now) and all(old.origin in (None, index) for index, old in enumerate(known)):
        return ()
    if not known:
        return now
    kept = [old.kept_heads if old.kept_heads is not None and len(old.kept_heads) == new.heads else None for old, new in zip(known, now, strict=True)]
    return tuple(replace(new, kept_heads=heads, origin=old.origin) for old, new, heads in zip(known, now, kept, strict=True))


def _load_cut(checkpoint: Checkpoint) -> Any:
    """Build at full width, cut each layer to its recorded shape, then fill in the saved weights."""
    config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True)
    model = _cut_layers(_auto_class(checkpoint.task).from_config(config, dtype=torch.float32), checkpoint)
    model.load_state_dict(_saved_weights(checkpoint), strict=True)
    return model


def _cut_backbone(checkpoint: Checkpoint, task: Task) -> Any:
    """The same with a head for `task`: every weight of the encoder must be there, those of the head where they fit."""
    config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, **head_config(task))
    model = _cut_layers(AutoModelForSequenceClassification.from_config(config, dtype=torch.float32), checkpoint)
    own, saved, encoder = model.state_dict(), _saved_weights(checkpoint), f"{model.base_model_prefix}."
    if not any(name.startswith(encoder) for name in saved):  # it has no head
        saved = {encoder + name: tensor for name, tensor in saved.items()}
    fitting = {name: tensor for name, tensor in saved.items() if name in own and own[name].shape == tensor.shape}
    lost = sorted(name for name in own.keys() - fitting.keys() if name.startswith(encoder))
    if lost:
        raise RuntimeError(f"no weights of the right shape for {lost[0]}")
    model.load_state_dict(own | fitting)
    return model


def _cut_layers(model: Any, checkpoint: Checkpoint) -> Any:
    for block, shape in zip(blocks(model), checkpoint.record.layers, strict=True):
        block.cut(heads=range(shape.heads), ffn=range(shape.ffn))
    return model


def _saved_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    for file in weight_files(checkpoint.path):
        state |= load_file(file)
    return state


def _auto_class(task: Task) -> Any:
    return AutoModelForSequenceClassification if task.kind == "text-classification" else AutoModel


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, UnpicklingError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{path}: the model cannot be loaded: {reason}", hint="Check that config.json and the weights belong together.") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' loading reports off the terminal: what matters is said by our own errors."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
