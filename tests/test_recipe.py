"""Recipes: what is shipped writes every setting out, and settings that exclude each other are refused."""

import pytest
import yaml

from edgelm.errors import RecipeError, UsageError
from edgelm.files.shipped import find_file, shipped_names
from edgelm.recipe import AugmentSettings, RaceSettings, StudentShape, load_recipe


def keys_of(values):
    """Every key of nested settings, as dotted paths."""
    found = set()
    for name, value in values.items():
        parts = value if isinstance(value, (list, tuple)) else [value]
        found.add(name)
        found |= {f"{name}.{key}" for part in parts if isinstance(part, dict) for key in keys_of(part)}
    return found


@pytest.mark.parametrize("name", shipped_names("recipes"))
def test_shipped_recipes_write_every_setting_out(name):
    text = find_file(name, "recipes").read_text(encoding="utf-8")
    written = yaml.safe_load(text)
    assert keys_of(load_recipe(name).model_dump(mode="json")) == keys_of(written)
    for key, settings in (
        ("augment: null", AugmentSettings),
        ("shape: null", StudentShape),
        ("race: null", RaceSettings),
    ):
        if key in text:  # a group that is off shows in a comment what it could be
            line = next(line for line in text.split(key)[1].splitlines() if "{" in line)
            example = yaml.safe_load(line.split("#")[1].split(";")[0])
            assert set(example) == set(settings.model_fields)
            settings.model_validate(example)


@pytest.mark.parametrize("more", ["shape: {hidden: 16}", "student: other"])
def test_a_distill_stage_has_one_student(tmp_path, more):
    (tmp_path / "r.yaml").write_text(f"name: r\nstages:\n  - stage: distill\n    layers: 2\n    {more}\n")
    with pytest.raises(RecipeError, match=rf"r\.yaml:\d+: .*layers and {more.split(':')[0]} exclude each other"):
        load_recipe(tmp_path / "r.yaml")
    with pytest.raises(RecipeError, match="exclude each other"):
        load_recipe("fastest", overrides=["distill.shape={hidden: 16}"])


@pytest.mark.parametrize("name", ["a" * 300, "a" * 100_000, "x\0y", "a/" * 3000])
def test_a_name_that_no_system_takes_is_no_recipe(name):
    with pytest.raises(UsageError, match=r"^no recipe '.{3,90}: neither a file nor a name"):
        load_recipe(name)
