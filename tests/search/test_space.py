"""What may vary in a search: a file with clear refusals, and draws that every recipe can take."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelm.checkpoint import Checkpoint, Record
from edgelm.errors import SpaceError, UsageError
from edgelm.files.shipped import shipped_names
from edgelm.recipe import load_recipe, override
from edgelm.search.sampling import draw, every_point, starting_points
from edgelm.search.space import Axis, SearchSpace, as_override, load_recipes, load_space, shipped_space, value_in
from edgelm.tasks.text import SentenceEmbedding, TextClassification

HEAD = "name: mine\nrecipes: [balanced, fastest]\n"
SHIPPED = load_space()
RECIPES = load_recipes(SHIPPED)


class Dice:
    """Stands for an Optuna trial: answers with a point of each range or list, given as a share."""

    def __init__(self, shares):
        self.shares = iter(shares)

    def suggest_categorical(self, name, choices):
        return choices[min(int(next(self.shares) * len(choices)), len(choices) - 1)]

    def suggest_int(self, name, low, high, *, step, log):
        return low + step * round(next(self.shares) * ((high - low) // step))

    def suggest_float(self, name, low, high, *, step, log):
        share = next(self.shares)
        if step is not None:
            return min(high, low + step * round(share * ((high - low) / step)))
        return math.exp(math.log(low) + share * math.log(high / low)) if log else low + share * (high - low)


def test_the_shipped_space_fits_every_shipped_recipe():
    assert shipped_names("recipes/search") == ["default", "generators", "seq2seq"]
    assert "search" not in shipped_names("recipes")
    of_encoders = [name for name in shipped_names("recipes") if not name.startswith(("generator-", "seq2seq-"))]
    assert sorted(SHIPPED.recipes) == sorted(of_encoders)  # its title says so
    assert all(SHIPPED.axes_of(recipe) for recipe in RECIPES.values() if recipe.stages)
    for name in shipped_names("recipes"):
        load_recipes(load_space(recipes=[name]), unused=True)


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_whatever_is_drawn_is_a_recipe_with_its_values_in_range(shares):
    name, overrides = draw(Dice(shares), SHIPPED, RECIPES)
    made = override(RECIPES[name], overrides)
    for path, axis in SHIPPED.axes_of(RECIPES[name]).items():
        value = value_in(made, path)
        assert value in axis.choices if axis.choices is not None else axis.low <= value <= axis.high


def test_a_choice_may_be_a_list_and_a_number_keeps_four_digits():
    space = SearchSpace(
        name="mine",
        recipes=("fastest",),
        settings={
            "distill.layers": Axis(choices=([0, 2], 3)),
            "prune.keep_ffn": Axis(low=0.2, high=0.9),
            "seed": Axis(low=1, high=3),
        },
    )
    recipes = load_recipes(space)
    name, overrides = draw(Dice([0, 0, 1 / 3, 1]), space, recipes)
    assert overrides == ("distill.layers=[0, 2]", "prune.keep_ffn=0.4333", "seed=3")
    assert override(recipes[name], overrides).stages[0].layers == (0, 2)


@pytest.mark.parametrize("value", [1e-5, 0.5, 3, True, None, "fisher", [0, 2]])
def test_a_value_survives_as_an_override(value):
    import yaml

    path, _, text = as_override("stage.key", value).partition("=")
    assert path == "stage.key"
    assert yaml.safe_load(text) == value


def test_recipes_are_tried_first_as_they_are_or_as_near_as_the_space_allows():
    space = SHIPPED
    points = starting_points(space, RECIPES)
    assert [point["recipe"] for point in points] == list(space.recipes)
    balanced = points[space.recipes.index("balanced")]
    assert balanced["prune.keep_heads"] == load_recipe("balanced").stages[0].keep_heads
    assert points[space.recipes.index("fastest")]["distill.layers"] == json.dumps(
        load_recipe("fastest").stages[0].layers
    )
    assert points[space.recipes.index("smallest")]["prune.keep_ffn"] in (
        pytest.approx(0.2),
        pytest.approx(0.3),
    )  # 0.25 is between two steps


def test_every_point_of_a_space_is_what_is_drawn_there():
    settings = {
        "prune.keep_ffn": {"low": 0.2, "high": 0.9, "step": 0.35},
        "prune.keep_heads": [0.5, 1.0],
        "seed": {"low": 1, "high": 3},
    }
    space = SearchSpace.model_validate({"name": "mine", "recipes": ["balanced"], "settings": settings})
    recipes = load_recipes(space)
    points = list(every_point(space, recipes))
    drawn = {
        draw(Dice([0, a / 2, b / 2, c / 2]), space, recipes)[1] for a in range(3) for b in range(2) for c in range(3)
    }
    assert {overrides for _, _, overrides in points} == drawn
    assert len(points) == 3 * 2 * 3
    shipped = list(every_point(SHIPPED, RECIPES))
    assert shipped[0] == ({"recipe": "no-training"}, "no-training", ())
    widths = [(f"static.width={width}",) for width in (64, 128, 256)]
    assert [(recipe, overrides) for _, recipe, overrides in shipped[1:]] == [("static", each) for each in widths]
    # learning rates have no end of values


@given(
    st.floats(-10, 10),
    st.floats(0.01, 10),
    st.one_of(st.none(), st.floats(0.01, 1)),
    st.floats(-30, 30),
    st.lists(st.floats(0, 1), max_size=20),
)
def test_the_nearest_value_is_possible_and_no_other_is_nearer(low, width, share, value, others):
    high = low + width
    step = None if share is None else share * (high - low)
    axis = Axis(low=low, high=high, step=step)
    near = axis.nearest(value)
    assert low - 1e-9 <= near <= axis.high + 1e-9
    count = None if step is None else int((axis.high - low) / step + 1e-9)
    for other in others:
        possible = low + (other * (axis.high - low) if count is None else round(other * count) * step)
        assert abs(near - value) <= abs(possible - value) + 1e-9  # rounding of sums


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("name: mine\nrecipes: [balancd]\n", 2, "balancd"),
        ("name: mine\nrecipes: []\n", 2, "recipes"),
        (HEAD + "spread: 3\n", 3, "spread"),
        (HEAD + "settings:\n  prune.keep_ffn: {lo: 0.2, high: 0.9}\n", 4, "'lo'"),
        (HEAD + "settings:\n  seed: [1, 2]\n  prune.keep_ffn: {low: 0.9, high: 0.2}\n", 5, "empty"),
        (HEAD + "settings:\n  prune.keep_ffn: []\n", 4, "empty"),
        (HEAD + "settings:\n  prune.keep_ffn: {low: 0.2}\n", 4, "low and high"),
        (HEAD + "settings:\n  prune.keep_ffn: {low: 0.0, high: 1.0, log: true}\n", 4, "log"),
        (HEAD + "settings:\n  prune.keep_ffn: {low: 0.5, high: 1.5}\n", 4, "1.5"),
        (HEAD + "settings:\n  prune.keep_ffn: [0.5, 2]\n", 4, "2"),
        (HEAD + "settings:\n  prune.keep_hats: [0.5]\n", 4, "keep_hats"),
        (HEAD + "settings:\n  polish.keep_ffn: [0.5]\n", 4, "polish"),
        (HEAD + "settings:\n  distill.train.speed: [0.5]\n", 4, "speed"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_with_its_line(tmp_path, text, line, message):
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(SpaceError) as refused:
        load_space(file)
    assert f"space.yaml:{line}:" in refused.value.message
    assert message in refused.value.message
    assert refused.value.hint


def test_an_unknown_space_is_refused_with_those_that_are_shipped():
    with pytest.raises(UsageError, match="no search space 'defualt'") as refused:
        load_space("defualt")
    assert "default" in refused.value.hint


def test_recipes_for_some_models_are_tried_where_they_can_be():
    """A mean over words tells no pair apart; attention that goes by distances needs every token."""

    def recipes(family="bert", task=TextClassification(), pairs=False):
        checkpoint = Checkpoint(Path("m"), {"model_type": family}, Record(task, "m"))
        return {"static", "half-tokens"} & set(shipped_space(checkpoint, pairs=pairs).recipes)

    assert recipes() == {"static", "half-tokens"}
    assert recipes(pairs=True) == {"half-tokens"}
    assert recipes("mpnet") == {"static"}
    assert recipes(task=SentenceEmbedding()) == set()
