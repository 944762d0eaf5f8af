"""Training of a few numbers beside each matrix instead of all weights (LoRA), through peft."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from edgelm.errors import MissingExtraError, RecipeError, install_extra
from edgelm.tasks.task import Task
from edgelm.training_settings import TrainSettings

_DROPOUT = 0.05


def with_lora(model: PreTrainedModel, task: Task, rank: int) -> Any:
    """The model with two thin matrices beside each of its own (Hu et al. 2022, arXiv:2106.09685), which alone are
    trained, beside a head that is new. They count twice (alpha is twice the rank), and drop out inputs.

    Args:
        rank: width of the thin matrices.

    Raises:
        MissingExtraError: peft is not installed.
    """
    try:
        import peft
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the package peft is missing; it trains with LoRA.", hint=install_extra("peft")
        ) from error
    kept = [] if task.generates or task.own_targets else _heads(model)
    head = model.get_output_embeddings() if task.generates or task.own_targets else None
    matrices = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head and name.split(".")[0] not in kept
    ]
    turned = any(isinstance(module, Conv1D) for module in model.modules())
    settings = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=_DROPOUT,
        target_modules=matrices,
        modules_to_save=kept or None,
        fan_in_fan_out=turned,
    )
    return peft.get_peft_model(model, settings)


def refuse_projections(settings: TrainSettings, projections: nn.Module | None) -> None:
    """Refuse LoRA beside maps of hidden states, whose states peft would not keep.

    Raises:
        RecipeError: both.
    """
    if settings.lora is not None and projections is not None:
        raise RecipeError(
            "train.lora trains nothing beside the model, but loss.hidden needs a map of the hidden states here.",
            hint="Set loss.hidden to 0, or train all weights.",
        )


def merged(model: Any) -> PreTrainedModel:
    """The plain model, with what was learned added to its own weights."""
    plain: PreTrainedModel = model.merge_and_unload()
    for weight in plain.parameters():
        weight.requires_grad_(True)
    return plain.eval()


def _heads(model: PreTrainedModel) -> list[str]:
    """The parts outside of the base model, which start from random numbers."""
    parts = [name for name, module in model.named_children() if next(module.parameters(), None) is not None]
    return [name for name in parts if name != model.base_model_prefix]
