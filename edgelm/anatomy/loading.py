"""From a Checkpoint to a living PreTrainedModel and back, whatever shape each layer has."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel
from transformers import modeling_gguf_pytorch_utils as gguf_files

from edgelm.anatomy import static_model as static_model  # for the auto classes to know its classes
from edgelm.anatomy.adapters import adapted_model_config, merged_weights
from edgelm.anatomy.even_sizes import settle_sizes
from edgelm.anatomy.families.table import family_of
from edgelm.anatomy.fill import auto_class, fill, fill_resized, fill_whole, outline
from edgelm.anatomy.generators import generation_config, gguf_weights, refuse_generator, require_family
from edgelm.anatomy.heads import encoder_weights, head_mismatch, is_head, require_encoder, require_whole, say_new_head
from edgelm.anatomy.layers import layer_shapes
from edgelm.anatomy.model_settings import PLAIN
from edgelm.anatomy.remote_code import differing_shapes, save_remote_code
from edgelm.anatomy.sentence_head import attach_head, save_sentence_folder, without_head
from edgelm.anatomy.tokenizer import load_tokenizer
from edgelm.anatomy.weights import State, fit_names, read_weights, refuse_not_finite, some
from edgelm.checkpoint import Checkpoint, Record, open_checkpoint
from edgelm.errors import ModelError
from edgelm.model_folder.config import read_task
from edgelm.model_folder.generators import READERS
from edgelm.model_folder.gguf import is_gguf
from edgelm.model_folder.own_code import LAYERS_ENTRY
from edgelm.model_folder.weight_files import read_json
from edgelm.shapes import LayerShape
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding, TextClassification

_PROBLEM_TYPES = {
    "single-label": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}


def load_checkpoint(checkpoint: Checkpoint | str | Path, *, allow_pickle: bool = False) -> PreTrainedModel:
    """Build the model of a checkpoint, in FP32 and eval mode.

    Every weight comes from the folder, by name and shape. The names may carry the prefixes of wrappers (torch.compile,
    DataParallel); that these were taken off is warned of.

    Args:
        checkpoint: an open checkpoint, or its folder.
        allow_pickle: load `pytorch_model.bin` (weights only) where there is no safetensors file.

    Returns:
        a `PreTrainedModel`: with the head of its task, or the bare encoder for sentence embeddings.

    Raises:
        ModelError: files missing or broken, or weights that do not fit the configuration; those are named.
        UnsupportedFamily: the architecture has no anatomy.
        MissingExtraError: an adapter, and peft is not installed.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint, allow_pickle=allow_pickle)
    return _load_whole(checkpoint, checkpoint.task)


def load_backbone(checkpoint: Checkpoint, task: Task, *, allow_new_head: bool = False) -> PreTrainedModel:
    """Build a model for `task` on the encoder of a checkpoint.

    A pretrained encoder, which claims no head, gets one for the task from random numbers, and that is warned of.

    Args:
        allow_new_head: make the head anew also where the folder claims one that is not there, or that is of other size
            or labels.

    Raises:
        ModelError, UnsupportedFamily, MissingExtraError: as `load_checkpoint`; also a head that is not the task's.
    """
    if isinstance(task, SentenceEmbedding) or task.generates:
        return _load_whole(checkpoint, task)
    refuse_generator(checkpoint, task)
    require_family(checkpoint, task)
    path = checkpoint.path
    with quiet(), translated(path):
        # What a cross-encoder's scores went through is no part of another head.
        unsaid: dict[str, Any] = {"sentence_transformers": {}, "sbert_ce_default_activation_function": None}
        config = _config(
            checkpoint,
            **head_config(task),
            **{name: value for name, value in unsaid.items() if name in checkpoint.config},
        )
        shape = outline(auto_class(task), config)
        state = _state(checkpoint, shape)
        model, report = fill(type(shape), config, state, checkpoint.record.layers)
        require_encoder(report, model, path)
        mismatch = head_mismatch(checkpoint, task, report, model)
        if mismatch and not allow_new_head:
            raise ModelError(
                f"{path}: the weights do not fit the task; {mismatch}.",
                hint="Give the head that was trained for these labels, or make a new one: edgelm finetune "
                "--allow-new-head.",
            )
        if mismatch:
            model, report = fill(type(shape), config, encoder_weights(state, model), checkpoint.record.layers)
        refuse_not_finite(model, path)
    say_new_head(report.random, path)
    return model.eval()


def load_masked_lm(checkpoint: Checkpoint) -> PreTrainedModel:
    """Build a masked language model, of any architecture that transformers has, in FP32 and eval mode.

    Raises:
        ModelError: as `load_checkpoint`; also a model whose head is missing, or whose tokenizer has no mask.
    """
    path = checkpoint.path
    with quiet(), translated(path):
        config = _config(checkpoint)
        shape = outline(AutoModelForMaskedLM, config)
        model, report = fill(type(shape), config, _state(checkpoint, shape), checkpoint.record.layers)
        if report.missing and all(is_head(name, model) for name in report.missing):
            raise ModelError(
                f"{path}: no masked language model: it lacks {some(report.missing)}.",
                hint="Give the pretrained encoder with its language-model head, such as a BertForMaskedLM.",
            )
        require_whole(report, model, path)
        refuse_not_finite(model, path)
    if load_tokenizer(checkpoint).mask_token_id is None:
        raise ModelError(
            f"{path}: the tokenizer has no mask token.", hint="Give a model that was trained to fill in masks."
        )
    return model.eval()


def head_config(task: Task) -> dict[str, Any]:
    """The entries of a Hugging Face configuration that describe a task's head.

    transformers squashes the score of a model of one label that names no problem, and takes that of a regression as it
    is.
    """
    if not task.labels:
        return {}
    names = {
        "id2label": dict(enumerate(task.labels)),
        "label2id": {name: i for i, name in enumerate(task.labels)},
    }
    if not isinstance(task, TextClassification):
        return names
    squashed = task.problem == "regression" and task.activation == "sigmoid"
    return names | {"problem_type": None if squashed else _PROBLEM_TYPES[task.problem]}


def save_checkpoint(folder: Path, model: PreTrainedModel, tokenizer: Any, record: Record) -> None:
    """Write a checkpoint: config.json, model.safetensors, tokenizer files, edgelm.json with the shape of each layer,
    the modules of a sentence encoder, a card, and what transformers needs to build layers of shapes of their own."""
    if record.task.generates:
        model.generation_config = generation_config(record.task)
        settle_sizes(model)
        model.save_pretrained(folder)
        save_remote_code(folder, model)
        _save_tokenizer(tokenizer, folder)
        replace(record, layers=_generator_shapes(model, record)).write(folder)
        return
    # By the model's own names, whatever older ones it was loaded from.
    model.save_pretrained(folder, state_dict=without_head(model.state_dict()), save_original_format=False)
    if isinstance(record.task, SentenceEmbedding):
        save_sentence_folder(folder, model, record.task)
    elif isinstance(record.task, TextClassification) and record.task.problem == "regression":
        _keep_activation(folder / "config.json", record.task)
    save_remote_code(folder, model)
    _save_tokenizer(tokenizer, folder)
    replace(record, layers=_shapes_to_record(model, record)).write(folder)


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer's files, without the truncation and padding of whatever was read by it last."""
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)


def _keep_activation(file: Path, task: TextClassification) -> None:
    """Say in config.json what a score goes through, as sentence-transformers says it, where it would be read otherwise
    without edgelm.json."""
    config = read_json(file)
    names = {"sigmoid": "torch.nn.modules.activation.Sigmoid"}
    told = read_task(config)
    if (isinstance(told, TextClassification) and told.activation == "sigmoid") != (task.activation == "sigmoid"):
        config["sentence_transformers"] = {
            "activation_fn": names.get(task.activation, "torch.nn.modules.linear.Identity")
        }
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _shapes_to_record(model: PreTrainedModel, record: Record) -> tuple[Any, ...]:
    """Present shapes, with the kept heads of the record where they still tell the truth; empty if all layers are as
    config.json says, and none before or among them is gone."""
    if model.config.model_type in READERS:  # whose layers are not cut
        return ()
    family = family_of(model.config.model_type)
    full = (getattr(model.config, family.config_heads), getattr(model.config, family.config_ffn))
    now = layer_shapes(model)
    known = record.layers if len(record.layers) == len(now) else ()
    if all((shape.heads, shape.ffn) == full and not shape.marked for shape in now) and all(
        old.origin in (None, index) for index, old in enumerate(known)
    ):
        return ()
    if not known:
        return now
    kept = [
        old.kept_heads if old.kept_heads is not None and len(old.kept_heads) == new.heads else None
        for old, new in zip(known, now, strict=True)
    ]
    return tuple(
        replace(new, kept_heads=heads, origin=old.origin, left=old.left)
        for old, new, heads in zip(known, now, kept, strict=True)
    )


def _generator_shapes(model: PreTrainedModel, record: Record) -> tuple[LayerShape, ...]:
    """Present shapes of a model that writes, with what the record knows of where they come from; empty if none was cut
    and none before or among them is gone."""
    now = layer_shapes(model)
    if not record.layers and differing_shapes(model) is None:
        return ()
    if len(record.layers) != len(now):
        return now
    return tuple(
        replace(new, origin=old.origin, kept_heads=old.kept_heads if new.heads == old.heads else None)
        for old, new in zip(record.layers, now, strict=True)
    )


def _load_whole(checkpoint: Checkpoint, task: Task) -> PreTrainedModel:
    """The model of a checkpoint for a task, all of whose weights lie in the folder."""
    if task.generates:
        return _load_generator(checkpoint, task)
    require_family(checkpoint, task)
    with quiet(), translated(checkpoint.path):
        config = _config(checkpoint)
        shape = outline(auto_class(task), config)
        model, report = fill(type(shape), config, _state(checkpoint, shape), checkpoint.record.layers)
        require_whole(report, model, checkpoint.path)
        model = attach_head(model, checkpoint) if task == checkpoint.task else model
        refuse_not_finite(model, checkpoint.path)
    return model.eval()


def _load_generator(checkpoint: Checkpoint, task: Task) -> PreTrainedModel:
    """A model that writes, with its settings of generation."""
    with quiet(), translated(checkpoint.path):
        config = _config(checkpoint)
        shape = outline(auto_class(task), config)
        shapes, state = checkpoint.config.get(LAYERS_ENTRY), _state(checkpoint, shape)
        if shapes:
            model, report = fill_resized(type(shape), config, state, shapes)
        else:
            model, report = fill_whole(type(shape), config, state)
        require_whole(report, model, checkpoint.path)
        refuse_not_finite(model, checkpoint.path)
        model.generation_config = generation_config(task)
        for name in getattr(model, "_keys_to_ignore_on_save", None) or ():
            model.get_parameter(name).requires_grad_(False)  # Marian's sines: what training made of them would be lost
    return model.eval()


def _config(checkpoint: Checkpoint, **entries: Any) -> Any:
    """The configuration of a model, which for an adapter is its base model's with the adapter's labels."""
    if is_gguf(checkpoint.path):
        return AutoConfig.for_model(**checkpoint.config, **entries)
    if checkpoint.base is None:
        config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, **entries, **PLAIN)
        for name in (LAYERS_ENTRY, "auto_map"):  # what the model becomes, they no longer say
            vars(config).pop(name, None)
        if checkpoint.family in READERS and not checkpoint.task.generates:
            config.use_cache = False  # whoever reads a text once keeps no keys and values
        return config
    return adapted_model_config(checkpoint, **entries)


def _state(checkpoint: Checkpoint, shape: PreTrainedModel) -> State:
    """The weights of a checkpoint under the names of a model."""
    if checkpoint.base is not None:
        return merged_weights(checkpoint)
    if is_gguf(checkpoint.path):
        return gguf_weights(checkpoint.path, shape)
    return fit_names(read_weights(checkpoint.path), shape, checkpoint.path)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{path}: the model cannot be loaded: {reason}",
            hint="Check that config.json and the weights belong together.",
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' loading reports off the terminal: what matters is said by our own errors."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    transformers.logging.disable_progress_bar()
    bar = gguf_files.tqdm
    gguf_files.tqdm = transformers.logging.tqdm  # the bar of GGUF files heeds no setting
    try:
        yield
    finally:
        gguf_files.tqdm = bar
        transformers.logging.set_verbosity(level)
