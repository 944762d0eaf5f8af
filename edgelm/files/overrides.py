"""`--set stage.key=value`: which values of a recipe, as plain dictionaries, a text means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from edgelm.errors import RecipeError
from edgelm.files.safe_yaml import parse_yaml


def set_values(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Change values in place; what they may be is not looked at. The texts are as `edgelm.recipe.load_recipe` takes
    them.

    Raises:
        RecipeError: no such stage or key, or no text of that form.
    """
    for whole in overrides:
        path, equals, raw = whole.partition("=")
        text = whole[:80]
        if not equals or not path.strip():
            raise RecipeError(
                f"--set {text!r} is not of the form stage.key=value.",
                hint="For instance: --set prune.keep_ffn=0.5",
            )
        for target, key in _targets(values, path.strip(), text):
            if key not in target:
                raise RecipeError(
                    f"--set {text!r}: no setting {key!r} there.",
                    hint=f"There are: {', '.join(k for k in target if k != 'stage')}.",
                )
            try:
                _, target[key] = parse_yaml(raw)
            except (yaml.YAMLError, ValueError) as error:
                reason = getattr(error, "problem", None) or str(error)
                raise RecipeError(
                    f"--set {text!r}: the value cannot be read: {reason}.",
                    hint="It is written as in a recipe, for instance 0.5, null or {layers: 4}.",
                ) from error


def _targets(values: dict[str, Any], path: str, text: str) -> list[tuple[dict[str, Any], str]]:
    """The dictionaries that a path such as `prune[1].train.epochs` leads to, each with the last key."""
    first, *rest = path.split(".")
    if not rest:
        return [(values, first)]
    if first in values and values[first] is None:
        raise RecipeError(
            f"--set {text!r}: {first} is null here.",
            hint=f"Give the whole group: --set '{first}={{{rest[0]}: ...}}'.",
        )
    found = [values[first]] if isinstance(values.get(first), dict) else _stages_named(values["stages"], first)
    if not found:
        stages = ", ".join(stage["stage"] for stage in values["stages"]) or "no stages"
        raise RecipeError(f"--set {text!r}: the recipe has no stage {first!r}.", hint=f"It has: {stages}.")
    targets = []
    for target in found:
        for part in rest[:-1]:
            target = target.get(part)
            if not isinstance(target, dict):
                raise RecipeError(
                    f"--set {text!r}: no group of settings {part!r} there.",
                    hint="`edgelm recipes show balanced` has every setting.",
                )
        targets.append((target, rest[-1]))
    return targets


def _stages_named(stages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """All stages of a name, or the one that `name[index]` means."""
    name, _, index = text.partition("[")
    found = [stage for stage in stages if stage["stage"] == name]
    if not index:
        return found
    position = index.rstrip("]")
    return found[int(position) : int(position) + 1] if position.isdigit() else []
