"""Recipes, devices, search spaces and overrides that are damaged in any place."""

import pytest
import yaml
from fuzzing import ODD, Raw, damaged_bytes, damaged_values, hold, inputs, text_of
from hypothesis import given
from hypothesis import strategies as st

from edgelm.device import load_device
from edgelm.files.shipped import find_file
from edgelm.recipe import load_recipe
from edgelm.search.space import load_space

pytestmark = pytest.mark.fuzz
DOORS = {
    "balanced": ("recipes", load_recipe),
    "compact": ("recipes", load_recipe),
    "jetson-orin-nano": ("devices", load_device),
    "default": ("recipes/search", load_space),
}


@pytest.mark.parametrize("name", DOORS)
def test_a_file(name, tmp_path, request):
    kind, door = DOORS[name]
    text = find_file(name, kind).read_bytes()
    values = yaml.safe_load(text)

    @inputs(request, 0.3)
    @given(damaged=st.one_of(damaged_bytes(text), damaged_values(values).map(text_of)))
    def hammer(damaged):
        (tmp_path / "mine.yaml").write_bytes(damaged)
        hold(lambda: door(tmp_path / "mine.yaml"))

    hammer()


PATHS = [
    "prune.keep_ffn",
    "seed",
    "distill.train.epochs",
    "prune[1].keep_ffn",
    "prune[x].a",
    "name",
    "augment",
    ".",
    "",
]
VALUES = [value.text if isinstance(value, Raw) else str(value) for value in ODD]
VALUES += ["{method: noise}", "[1, 2", "&a [*a]", "2001-99-99", "!!python/name:os.system", "{a: {a: {a: 1}}}"]


def test_overrides(request):
    texts = st.builds(
        lambda path, mark, value: f"{path}{mark}{value}",
        st.sampled_from(PATHS) | st.text(max_size=20),
        st.sampled_from(["=", "==", ""]),
        st.sampled_from(VALUES) | st.text(max_size=30),
    )

    @inputs(request)
    @given(overrides=st.lists(texts, min_size=1, max_size=2))
    def hammer(overrides):
        hold(lambda: load_recipe("balanced", overrides=overrides))

    hammer()
