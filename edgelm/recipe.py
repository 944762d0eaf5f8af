"""A Recipe: which stages a checkpoint goes through, with every setting, read from YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgelm.errors import RecipeError
from edgelm.settings import load_yaml_model
from edgelm.shipped import find_file

Share = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Settings(BaseModel):
    """Base of all settings: frozen, and unknown keys are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainSettings(Settings):
    """How weights are trained. `epochs` counts passes over the data; `max_steps`, where given, ends training earlier or later."""

    epochs: Annotated[float, Field(gt=0)] = 3
    max_steps: Annotated[int, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(gt=0)] = 32
    gradient_accumulation: Annotated[int, Field(gt=0)] = 1
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-5
    optimizer: Literal["adamw", "adam", "sgd", "adagrad", "rmsprop"] = "adamw"
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.06
    weight_decay: Weight = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    max_length: Annotated[int, Field(ge=8)] = 128
    early_stopping: Annotated[int, Field(gt=0)] | None = None
    evaluations: Annotated[int, Field(gt=0)] = 1


class DistillLoss(Settings):
    """What a student is taught by: teacher's logits, labels, and hidden states.

    `soft`, `hard` and `hidden` weigh the three losses; `temperature` softens the logits.
    """

    temperature: Annotated[float, Field(gt=0)] = 2.0
    soft: Weight = 0.9
    hard: Weight = 0.1
    hidden: Weight = 1.0


class DistillSettings(Settings):
    """Train a student. It is made of the teacher's layers (`layers`: how many, or which), or is another model (`student`: a folder)."""

    stage: Literal["distill"] = "distill"
    layers: Annotated[int, Field(gt=0)] | tuple[Annotated[int, Field(ge=0)], ...] | None = None
    student: str | None = None
    loss: DistillLoss = DistillLoss()
    train: TrainSettings = TrainSettings()


class PruneSettings(Settings):
    """Remove attention heads and FFN channels; `keep_heads` and `keep_ffn` are shares of the whole model's."""

    stage: Literal["prune"] = "prune"
    keep_heads: Share = 1.0
    keep_ffn: Share = 1.0
    importance: Literal["fisher", "taylor"] = "fisher"
    samples: Annotated[int, Field(gt=0)] = 2048
    ffn_multiple: Annotated[int, Field(gt=0)] = 32
    max_length: Annotated[int, Field(ge=8)] = 128


class RecoverSettings(Settings):
    """Distil the original model's knowledge back into what pruning left."""

    stage: Literal["recover"] = "recover"
    loss: DistillLoss = DistillLoss()
    train: TrainSettings = TrainSettings()


class QuantizeSettings(Settings):
    """Quantization-aware training: weights learn to live on INT8's grid, taught by the original model; export then quantizes them.

    `ranges` are those of the activations, learnt on `samples` rows before training and kept.
    """

    stage: Literal["quantize"] = "quantize"
    ranges: Literal["minmax", "moving-average", "percentile", "mse", "entropy"] = "minmax"
    samples: Annotated[int, Field(ge=8)] = 256
    symmetric: bool = False
    loss: DistillLoss = DistillLoss()
    train: TrainSettings = TrainSettings()


Stage = Annotated[DistillSettings | PruneSettings | RecoverSettings | QuantizeSettings, Field(discriminator="stage")]


class Recipe(Settings):
    """Stages in order; none means: leave the weights as they are (post-training quantization only)."""

    name: Annotated[str, Field(min_length=1)]
    title: str = ""
    seed: int = 0
    stages: tuple[Stage, ...] = ()


def load_recipe(name_or_path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by shipped name or path.

    Args:
        overrides: `stage.key=value` texts, such as `prune.keep_ffn=0.5` or `recover.train.epochs=1`; `seed=1` for the recipe itself.
            A stage that occurs more than once is changed everywhere; `prune[1].keep_ffn=0.5` changes the second.

    Raises:
        UsageError: no such recipe.
        RecipeError: an unknown key or an impossible value, with its place.
    """
    recipe = load_yaml_model(find_file(name_or_path, "recipes"), Recipe, RecipeError)
    return override(recipe, overrides) if overrides else recipe


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with some values changed; see `load_recipe`.

    Raises:
        RecipeError: no such stage or key, or an impossible value.
    """
    values = recipe.model_dump(mode="json")
    for text in overrides:
        path, equals, raw = text.partition("=")
        if not equals or not path.strip():
            raise RecipeError(f"--set {text!r} is not of the form stage.key=value.", hint="For instance: --set prune.keep_ffn=0.5")
        for target, key in _targets(values, path.strip(), text):
            if key not in target:
                raise RecipeError(f"--set {text!r}: no setting {key!r} there.", hint=f"There are: {', '.join(k for k in target if k != 'stage')}.")
            target[key] = yaml.safe_load(raw)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(
            f"--set gives an impossible value at {where}: {first['input']!r}; {first['msg']}.",
            hint="`edgelm recipes show balanced` has every setting.",
        ) from error


def _targets(values: dict[str, Any], path: str, text: str) -> list[tuple[dict[str, Any], str]]:
    """The dictionaries that a path such as `prune[1].train.epochs` leads to, each with the last key."""
    first, *rest = path.split(".")
    if not rest:
        return [(values, first)]
    name, _, index = first.partition("[")
    found = [stage for stage in values["stages"] if stage["stage"] == name]
    if index:
        position = index.rstrip("]")
        found = found[int(position) : int(position) + 1] if position.isdigit() else []
    if not found:
        stages = ", ".join(stage["stage"] for stage in values["stages"]) or "no stages"
        raise RecipeError(f"--set {text!r}: the recipe has no stage {first!r}.", hint=f"It has: {stages}.")
    targets = []
    for target in found:
        for part in rest[:-1]:
            target = target.get(part)
            if not isinstance(target, dict):
                raise RecipeError(f"--set {text!r}: no group of settings {part!r} there.", hint="`edgelm recipes show balanced` has every setting.")
        targets.append((target, rest[-1]))
    return targets
