"""What stages of a recipe cannot do for a model, said before anything takes long."""

from __future__ import annotations

from edgelm.anatomy import family_of
from edgelm.anatomy.exits import require_exits
from edgelm.anatomy.families.static import STATIC, is_static, require_layers
from edgelm.anatomy.halving import require_places_in_states
from edgelm.checkpoint import Checkpoint
from edgelm.errors import RecipeError
from edgelm.recipe import (
    DepthSettings,
    DistillSettings,
    ExitsSettings,
    FitSettings,
    HalveSettings,
    PruneSettings,
    QuantizeSettings,
    Recipe,
    Stage,
)
from edgelm.static_settings import StaticSettings
from edgelm.tasks.task import Task
from edgelm.tasks.text import TextClassification
from edgelm.training_settings import Settings


def check_stages(recipe: Recipe, checkpoint: Checkpoint, *, pairs: bool) -> None:
    """Refuse stages that cannot work.

    Args:
        pairs: whether the training rows are pairs of texts.

    Raises:
        UnsupportedFamily: layers would be cut of a family whose layers are not known, or that has none; tokens would be
            halved of one whose attention goes by distances.
        RecipeError: a model without layers, one that halves tokens, or one that texts leave early, would be made for a
            task that it is not for; or a stage chooses among layers of a model that has the like already.
    """
    family, layers = checkpoint.family, checkpoint.record.layers
    halved, leaving = any(shape.halves for shape in layers), any(shape.leaves is not None for shape in layers)
    for stage in recipe.stages:
        if isinstance(stage, StaticSettings):
            _check_static(checkpoint.task, family, pairs=pairs)
            family = STATIC.model_types[0]
        elif not checkpoint.task.generates:
            if _cuts_layers(stage):
                family_of(family)
            if _cuts_layers(stage) or _reads_layers(stage):
                require_layers(family, f"the stage {stage.stage} works on")
        if isinstance(stage, HalveSettings):
            _check_halving(checkpoint.task, family)
            halved = True
        elif halved:
            _check_after_halving(stage)
        if isinstance(stage, ExitsSettings):
            _check_exits(checkpoint.task, family)
            leaving = True
        elif leaving and _chooses_layers(stage):
            raise RecipeError(
                f"the stage {stage.stage} chooses among layers, and texts leave after some of them.",
                hint="Put it before the stage exits, or begin with the model that was there before.",
            )
        if halved and leaving:
            raise RecipeError(
                "the stages halve and exits do not go together: heads on the way read the mean of all tokens.",
                hint="Leave one of them out.",
            )


def _cuts_layers(stage: Settings) -> bool:
    if isinstance(stage, DistillSettings):
        return stage.layers is not None or stage.shape is not None
    return isinstance(stage, DepthSettings | PruneSettings | FitSettings | HalveSettings | ExitsSettings)


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


def _check_halving(task: Task, family: str) -> None:
    if not isinstance(task, TextClassification):
        raise RecipeError(
            f"the stage halve is for classifiers of texts and regressions, not {task.kind}, which needs every token to "
            "the end.",
            hint="Use another recipe, such as fastest.",
        )
    require_places_in_states(family)


def _check_exits(task: Task, family: str) -> None:
    if not isinstance(task, TextClassification) or task.output != "classes":
        what = "regressions or several labels a text" if isinstance(task, TextClassification) else task.kind
        raise RecipeError(
            f"the stage exits is for classifiers with one label a text, not {what}: it asks how likely that one is.",
            hint="Use another recipe, such as balanced.",
        )
    require_exits(family)


def _chooses_layers(stage: Stage) -> bool:
    other = isinstance(stage, DistillSettings) and (_cuts_layers(stage) or stage.student is not None)
    return other or isinstance(stage, DepthSettings | FitSettings | StaticSettings)


def _check_after_halving(stage: Stage) -> None:
    if _chooses_layers(stage):
        raise RecipeError(
            f"the stage {stage.stage} chooses among layers that read the same tokens, and some read half of them.",
            hint="Put it before the stage halve, or begin with the model that was there before.",
        )
    loss = getattr(stage, "loss", None)
    if loss and loss.relations:
        raise RecipeError(
            f"{stage.stage}.loss.relations compares the attention of all tokens with each other, and some layers read "
            "half of them.",
            hint="Set it to 0.",
        )
