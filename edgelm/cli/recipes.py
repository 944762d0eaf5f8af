"""`edgelm recipes`: list, show, check and copy recipes."""

from __future__ import annotations

from typing import Any

from edgelm.cli.files import make_app


def _describe(name: str) -> dict[str, Any]:
    from edgelm.recipe import load_recipe

    values: dict[str, Any] = load_recipe(name).model_dump(mode="json")
    return values | {"steps": [stage["stage"] for stage in values["stages"]]}


app = make_app("recipes", _describe, ("name", "steps", "title"))
