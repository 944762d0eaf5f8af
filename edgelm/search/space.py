"""The noun SearchSpace: which recipes a search starts from, and which of their settings vary, read from YAML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, model_validator

from edgelm.checkpoint import Checkpoint
from edgelm.errors import RecipeError, SpaceError, UnsupportedFamily, UsageError
from edgelm.files.shipped import find_file
from edgelm.files.yaml_model import line_of, load_yaml_model
from edgelm.recipe import Recipe, load_recipe, override
from edgelm.tasks.task import Task
from edgelm.training_settings import Settings

Number = int | float
Location = Sequence[int | str]


class Axis(Settings):
    """How one setting varies: between `low` and `high`, both possible, or over `choices` (in YAML simply a list).

    Two whole numbers give whole numbers; a decimal point in one of them gives decimal numbers. `step` leaves only every
    step from `low` on; `log` draws by orders of magnitude.
    """

    low: Number | None = None
    high: Number | None = None
    step: Annotated[Number, Field(gt=0)] | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _list_means_choices(cls, values: Any) -> Any:
        return {"choices": values} if isinstance(values, (list, tuple)) else values

    @model_validator(mode="after")
    def _not_empty(self) -> Axis:
        if self.choices is not None:
            if not self.choices:
                raise ValueError("the list of choices is empty")
            if self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("give choices, or low and high, not both")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or a list of choices")
        if self.low >= self.high:
            raise ValueError(f"the range from {self.low} to {self.high} is empty")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"a step of {self.step} leaves nothing of the range but {self.low}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0, and no step")
        return self

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step) if value is not None)

    def extremes(self) -> tuple[Any, ...]:
        """The values that must be possible for all others to be: both ends, or every choice."""
        return self.choices if self.choices is not None else (self.low, self.high)

    def grid(self) -> tuple[Any, ...] | None:
        """Every possible value; None where there is no end of them."""
        if self.choices is not None:
            return self.choices
        step = self.step or (1 if self.whole else None)
        if step is None or self.low is None or self.high is None:
            return None
        return tuple(self.low + index * step for index in range(int((self.high - self.low) / step + 1e-9) + 1))

    def nearest(self, value: Any) -> Any:
        """The possible value next to `value`; None where choices do not hold it or it is no number."""
        if self.choices is not None:
            return value if value in self.choices else None
        if not isinstance(value, (int, float)) or isinstance(value, bool) or self.low is None or self.high is None:
            return None
        value = min(max(value, self.low), self.high)
        if self.step is not None:
            steps = min(round((value - self.low) / self.step), int((self.high - self.low) / self.step + 1e-9))
            value = self.low + steps * self.step
        return round(value) if self.whole else float(value)


class SearchSpace(Settings):
    """Recipes (by shipped name or path), and the settings that vary, by the paths of `--set`; each applies to every
    recipe with its stage."""

    name: Annotated[str, Field(min_length=1)]
    title: str = ""
    recipes: Annotated[tuple[str, ...], Field(min_length=1)]
    settings: dict[str, Axis] = Field(default_factory=dict)

    def axes_of(self, recipe: Recipe) -> dict[str, Axis]:
        """The settings that vary in this recipe, in the order of the space."""
        return {path: axis for path, axis in self.settings.items() if _has_stage(recipe, path)}


def load_space(name_or_path: str | Path = "default", *, recipes: Sequence[str] = ()) -> SearchSpace:
    """Read a search space by shipped name or path.

    Args:
        recipes: start from these instead of the space's own.

    Raises:
        UsageError: no such space.
        SpaceError: an unknown key, recipe or setting, an empty range or an impossible value, with file and line.
    """
    path = find_file(name_or_path, "recipes/search")
    space = load_yaml_model(path, SearchSpace, SpaceError)
    load_recipes(space, place=lambda location: f"{path}:{line_of(path, location)}")
    return space if not recipes else SearchSpace.model_validate(space.model_dump() | {"recipes": tuple(recipes)})


def space_for(task: Task) -> str:
    """The name of the shipped space for models of a task."""
    if not task.generates:
        return "default"
    return "seq2seq" if task.schema == "targets" else "generators"


def shipped_space(checkpoint: Checkpoint, *, pairs: bool) -> SearchSpace:
    """The space that edgelm ships for models of a checkpoint's task, without the recipes that are for other tasks or
    families.

    Args:
        pairs: whether the rows are pairs of texts.
    """
    space = load_space(space_for(checkpoint.task))
    fitting = [name for name, recipe in load_recipes(space).items() if _fits(recipe, checkpoint, pairs=pairs)]
    return space.model_copy(update={"recipes": tuple(fitting)})


def _fits(recipe: Recipe, checkpoint: Checkpoint, *, pairs: bool) -> bool:
    from edgelm.compress.check_stages import check_stages

    try:
        check_stages(recipe, checkpoint, pairs=pairs)
    except (RecipeError, UnsupportedFamily):
        return False
    return True


def load_recipes(
    space: SearchSpace, *, place: Callable[[Location], str] | None = None, unused: bool = False
) -> dict[str, Recipe]:
    """The recipes of a space, by the names that it calls them, after checking that every setting can take every value.

    Args:
        place: says where a key of the space stands; None: there is no file.
        unused: accept settings that none of the recipes has.

    Raises:
        SpaceError: see `load_space`.
    """
    where = place or (lambda location: "search space")
    recipes = {}
    for index, name in enumerate(space.recipes):
        try:
            recipes[name] = load_recipe(name)
        except (UsageError, RecipeError) as error:
            raise SpaceError(f"{where(('recipes', index))}: {error.message}", hint=error.hint) from error
    for path, axis in space.settings.items():
        users = [recipe for recipe in recipes.values() if _has_stage(recipe, path)]
        if not users and not unused:
            stages = sorted({stage.stage for recipe in recipes.values() for stage in recipe.stages})
            raise SpaceError(
                f"{where(('settings', path))}: no recipe of the space has the setting {path!r}.",
                hint=f"Their stages: {', '.join(stages) or 'none'}.",
            )
        for recipe in users:
            _check(recipe, path, axis, where(("settings", path)))
    return recipes


def as_override(path: str, value: Any) -> str:
    """The text that `--set` takes for a value: `prune.keep_ffn=0.5`."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()
    return f"{path}={text.removesuffix('...').strip()}"


def value_in(recipe: Recipe, path: str) -> Any:
    """The value that a recipe has at a path (of the first stage of that name); None if there is none."""
    first, *rest = path.split(".")
    values: Any = recipe.model_dump(mode="json")
    if rest:
        name, _, index = first.partition("[")
        values = [stage for stage in values["stages"] if stage["stage"] == name][int(index.rstrip("]") or 0)]
    for part in rest or [first]:
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _check(recipe: Recipe, path: str, axis: Axis, where: str) -> None:
    for value in axis.extremes():
        try:
            override(recipe, [as_override(path, value)])
        except RecipeError as error:
            message = error.message.removeprefix("--set ")
            raise SpaceError(f"{where}: recipe {recipe.name}: {message}", hint=error.hint) from error


def _has_stage(recipe: Recipe, path: str) -> bool:
    """Whether a recipe has the stage that a path begins with; a path without a stage is the recipe's own."""
    first, *rest = path.split(".")
    if not rest:
        return True
    name, _, index = first.partition("[")
    count = sum(stage.stage == name for stage in recipe.stages)
    position = index.rstrip("]")
    return count > (int(position) if position.isdigit() else 0)
