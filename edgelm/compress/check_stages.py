"""What stages of a recipe cannot do for a model, said before anything takes long."""

from __future__ import annotations

from edgelm.anatomy import family_of
from edgelm.anatomy.families.static import STATIC, is_static, require_layers
from edgelm.checkpoint import Checkpoint
from edgelm.errors import RecipeError
from edgelm.recipe import DepthSettings, DistillSettings, FitSettings, PruneSettings, QuantizeSettings, Recipe
from edgelm.static_settings import StaticSettings
from edgelm.tasks.task import Task
from edgelm.tasks.text import TextClassification
from edgelm.training_settings import Settings


def check_stages(recipe: Recipe, checkpoint: Checkpoint, *, pairs: bool) -> None:
    """Refuse stages that cannot work.

    Args:
        pairs: whether the training rows are pairs of texts.

    Raises:
        UnsupportedFamily: layers would be cut of a family whose layers are not known, or that has none.
        RecipeError: a model without layers would be made for a task that it is not for, or of one that is such already.
    """
    family = checkpoint.family
    for stage in recipe.stages:
        if isinstance(stage, StaticSettings):
            _check_static(checkpoint.task, family, pairs=pairs)
            family = STATIC.model_types[0]
        elif not checkpoint.task.generates:
            if _cuts_layers(stage):
                family_of(family)
            if _cuts_layers(stage) or _reads_layers(stage):
                require_layers(family, f"the stage {stage.stage} works on")


def _cuts_layers(stage: Settings) -> bool:
    if isinstance(stage, DistillSettings):
        return stage.layers is not None or stage.shape is not None
    return isinstance(stage, DepthSettings | PruneSettings | FitSettings)


def _reads_layers(stage: Settings) -> bool:
    """Whether a stage compares hidden states, or rounds the matrices of layers."""
    loss = getattr(stage, "loss", None)
    return isinstance(stage, QuantizeSettings) or bool(loss and (loss.hidden or loss.relations))


def _check_static(task: Task, family: str, *, pairs: bool) -> None:
    if is_static(family):
        raise RecipeError(
            "the stage static makes a model without layers, and this one has none already.",
            hint="Give the model that it was distilled from.",
        )
    if not isinstance(task, TextClassification):
        raise RecipeError(
            f"the stage static is for classifiers of texts and regressions, not {task.kind}: a mean over a text says "
            "nothing of its single tokens.",
            hint="Use another recipe, such as fastest.",
        )
    if pairs or task.pair:
        raise RecipeError(
            "the stage static reads single texts: a mean over two of them does not say what stands in which.",
            hint="Use another recipe for pairs, such as fastest.",
        )
