"""Which weights may be missing or left over when a model is loaded: the one rule of every loader, and new heads."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from edgelm.anatomy.fill import LoadingReport
from edgelm.anatomy.weights import State, WeightsWarning, some
from edgelm.checkpoint import Checkpoint
from edgelm.errors import ModelError
from edgelm.model_folder.config import HEADS, read_task
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding, TextClassification, TokenClassification

# Heads of pretraining, which no task of edgelm's reads: masked words, next sentences, replaced tokens.
_PRETRAINING = re.compile(
    r"^(cls|lm_head|vocab_transform|vocab_layer_norm|vocab_projector|generator_predictions|generator_lm_head|discriminator_predictions|predictions|sop_classifier)\."
)
# Of ModernBERT, whose classifiers have the first of them too: pretrained, it is where theirs begins.
_MODERNBERT = re.compile(r"^(head|decoder)\.")
_POOLER = re.compile(r"^(\w+\.)?pooler\.")
# Architectures that claim no head for a task of their own: encoders as they come from pretraining.
_PRETRAINED = re.compile(r"(Model|ForMaskedLM|ForPreTraining|ForCausalLM|LMHeadModel)$")
_GENERIC_LABEL = re.compile(r"^LABEL_\d+$")


def require_whole(report: LoadingReport, model: PreTrainedModel, path: Path) -> None:
    """Refuse a model that was not filled by its folder.

    A pooler may be missing from a bare encoder, whose sentence vectors do not read it. Heads of pretraining, and a
    pooler that the model does not have, may be left over.

    Raises:
        ModelError: weights are missing, unexpected or of another shape; they are named.
    """
    missing = tuple(name for name in report.missing if not _may_miss(name, report, model))
    wrong = LoadingReport(
        missing, tuple(name for name in report.unexpected if not _spare(name, model)), report.mismatched
    )
    if wrong == LoadingReport():
        return
    hint = "Give config.json and weights of the same model: model.save_pretrained(folder) saves both."
    if not wrong.unexpected and all(is_head(name, model) for name in wrong.random):
        hint = (
            f"Its head is not there: train one with `edgelm finetune {path} --allow-new-head ...`, or save the whole "
            "model."
        )
    raise ModelError(f"{path}: the weights do not fit the model; {wrong}.", hint=hint)


def require_encoder(report: LoadingReport, model: PreTrainedModel, path: Path) -> None:
    """Refuse a model whose encoder was not filled by its folder; the head is another question.

    Raises:
        ModelError: weights of the encoder are missing, unexpected or of another shape; they are named.
    """
    wrong = LoadingReport(
        tuple(name for name in report.missing if not is_head(name, model)),
        tuple(name for name in report.unexpected if not _spare(name, model) and not is_head(name, model)),
        tuple(entry for entry in report.mismatched if not is_head(entry[0], model)),
    )
    if wrong != LoadingReport():
        hint = "Give config.json and weights of the same model: model.save_pretrained(folder) saves both."
        raise ModelError(f"{path}: the weights do not fit the encoder; {wrong}.", hint=hint)


def is_head(name: str, model: PreTrainedModel) -> bool:
    """Whether a name is none of the encoder's: outside the base model, or its pooler, which belongs to the head that
    reads it."""
    if _POOLER.match(name):
        return True
    first = name.split(".")[0]
    base = getattr(model, model.base_model_prefix, model)
    return first != model.base_model_prefix and first not in dict(base.named_children())


def head_mismatch(checkpoint: Checkpoint, task: Task, report: LoadingReport, model: PreTrainedModel) -> str:
    """Why the head in a folder is not the one that a task needs, though the folder claims one; else an empty text.

    A pretrained encoder claims no head: its architecture has one for masked words or none, and its weights no other.
    """
    left = [name for name in report.unexpected if not _spare(name, model)]
    if left:
        return f"they hold another head ({some(left)})"
    claimed = _claimed_task(checkpoint)
    if claimed is not None and claimed.kind != task.kind:
        return f"its head is for {claimed.kind}, not {task.kind}"
    theirs = None if claimed is None or not task.labels else claimed.labels
    named = theirs is not None and not all(_GENERIC_LABEL.match(label) for label in theirs)
    if theirs is not None and (len(theirs) != len(task.labels) or (named and theirs != task.labels)):
        return f"its head has {_labels(theirs)}, the data {_labels(task.labels)}"
    random = [name for name in report.random if is_head(name, model)]
    outside = [name for name in report.mismatched if is_head(name[0], model)]
    shared = set(getattr(model, "all_tied_weights_keys", None) or ())  # with the embeddings, as a decoder of masks
    held = [
        name
        for name in model.state_dict()
        if is_head(name, model)
        and not _POOLER.match(name)
        and not _modernbert_head(name, model)
        and name not in shared.union(random)
    ]
    if random and (outside or held or _claims_head(checkpoint)):
        return f"{LoadingReport(tuple(name for name in report.missing if name in random), (), tuple(outside))}"
    return ""


def in_head_order(checkpoint: Checkpoint, task: Task) -> Task:
    """The task with the labels in the order of the head that the folder has, where it has names for the same ones."""
    claimed = _claimed_task(checkpoint)
    if claimed is None or claimed.kind != task.kind or sorted(claimed.labels) != sorted(task.labels):
        return task
    if isinstance(task, TextClassification | TokenClassification):
        return replace(task, labels=claimed.labels)
    return task


def encoder_weights(state: State, model: PreTrainedModel) -> State:
    """The weights of the encoder, with its pooler."""
    return {name: tensor for name, tensor in state.items() if not is_head(name, model) or _POOLER.match(name)}


def say_new_head(names: tuple[str, ...], path: Path) -> None:
    """Warn of weights that start from random numbers."""
    if names:
        warnings.warn(f"{path}: a head is made anew, from random numbers: {some(names)}.", WeightsWarning, stacklevel=2)


def _claimed_task(checkpoint: Checkpoint) -> Task | None:
    """What the head of a folder is for, as it claims itself; None: it claims none."""
    if checkpoint.task.generates:
        return None
    if not isinstance(checkpoint.task, SentenceEmbedding):
        return checkpoint.task
    names = [str(name) for name in checkpoint.config.get("architectures") or []]
    return read_task(checkpoint.config) if any(name.endswith(tuple(HEADS)) for name in names) else None


def _claims_head(checkpoint: Checkpoint) -> bool:
    architectures = checkpoint.config.get("architectures") or []
    reads = not isinstance(checkpoint.task, SentenceEmbedding) and not checkpoint.task.generates
    return reads or not all(_PRETRAINED.search(str(name)) for name in architectures)


def _may_miss(name: str, report: LoadingReport, model: PreTrainedModel) -> bool:
    """The pooler of a bare encoder, if all of it is missing."""
    bare = model.base_model is model
    pooler = {own for own in model.state_dict() if _POOLER.match(own)}
    return bare and name in pooler and pooler <= set(report.missing)


def _spare(name: str, model: PreTrainedModel) -> bool:
    return bool(_PRETRAINING.match(name) or _POOLER.match(name) or _modernbert_head(name, model))


def _modernbert_head(name: str, model: PreTrainedModel) -> bool:
    return model.config.model_type == "modernbert" and bool(_MODERNBERT.match(name))


def _labels(names: tuple[str, ...]) -> str:
    return f"{len(names)} labels ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
