"""What a model does otherwise while it is trained: which weights learn, what is dropped out, what is computed twice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from transformers import PreTrainedModel

from edgelm.errors import UsageError
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding


@contextlib.contextmanager
def only_read_weights(model: PreTrainedModel, task: Task) -> Iterator[None]:
    """Inside, only weights that a loss reads are trained: several processes wait for the gradient of each.

    An encoder's pooler is none of them, nor is what a cut has left without elements.
    """
    pooler = getattr(model, "pooler", None) if isinstance(task, SentenceEmbedding) else None
    unread = [] if pooler is None else list(pooler.parameters())
    unread += [weight for weight in model.parameters() if weight.numel() == 0]
    frozen = [weight for weight in unread if weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(True)


@contextlib.contextmanager
def dropping_out(model: PreTrainedModel, share: float | None) -> Iterator[None]:
    """Inside, every dropout of the model leaves out this share; None: its own."""
    modules = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    before = [module.p for module in modules]
    if share is not None:
        for module in modules:
            module.p = share
    try:
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            module.p = own


@contextlib.contextmanager
def recomputing(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Inside, if it is wanted, layers keep their inputs alone and compute the rest again for the gradients (Chen et al.
    2016, arXiv:1604.06174).

    Raises:
        UsageError: transformers cannot do that with the model.
    """
    if not wanted:
        yield
        return
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise UsageError(
            f"a {type(model).__name__} has no gradient checkpointing.", hint="Leave train.gradient_checkpointing out."
        )
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        model.gradient_checkpointing_disable()
