"""Shapes that are asked for by number: what they come to for a given model, and what cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import make_checkpoint

from edgelm.anatomy import load_checkpoint, model_layers
from edgelm.compress.pruning.student_shape import resolve_shape
from edgelm.errors import RecipeError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Three layers, 48 wide, six heads of eight, 96 channels."""
    return load_checkpoint(
        make_checkpoint(tmp_path_factory.mktemp("shape") / "m", layers=3, hidden=48, heads=6, ffn=96)
    )


@pytest.mark.parametrize(
    ("asked", "hidden", "head_size", "heads", "ffn"),
    [
        ({}, 48, 8, 6, 96),
        ({"hidden": 24}, 24, 8, 3, 96),  # eight divides 24: as many whole heads as there is room for
        ({"hidden": 30}, 30, 5, 6, 96),  # it does not divide 30: as many heads as before, narrower
        ({"hidden": 24, "heads": 6, "ffn": 40}, 24, 4, 6, 40),
        ({"heads": 2}, 48, 8, 2, 96),
        ({"hidden": 32, "heads": 3}, 32, 8, 3, 96),
    ],
    ids=str,
)
def test_what_is_left_open_is_as_the_teacher_has_it(model, asked, hidden, head_size, heads, ffn):
    shape = resolve_shape(model, **asked)
    assert (shape.hidden, shape.head_size, shape.heads, shape.ffn) == (hidden, head_size, (heads,) * 3, (ffn,) * 3)
    assert shape.layers == (0, 1, 2)


@given(st.integers(1, 48), st.none() | st.integers(1, 6))
def test_heads_always_fit_into_the_hidden_size(model, hidden, heads):
    try:
        shape = resolve_shape(model, hidden=hidden, heads=heads)
    except RecipeError:
        return
    assert hidden % shape.head_size == 0  # what Hugging Face's configurations can say
    assert shape.head_size * shape.heads[0] <= hidden
    assert shape.head_size <= 8
    assert heads is None or shape.heads[0] == heads


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layers": 4}, r"shape\.layers is 4.*3 layers"),
        ({"hidden": 64}, r"shape\.hidden is 64.*48"),
        ({"heads": 7}, r"shape\.heads is 7.*6"),
        ({"ffn": 97}, r"shape\.ffn is 97.*96"),
        ({"hidden": 7}, r"6 heads do not fit into 7"),
        ({"hidden": 47}, r"6 heads do not fit into 47"),
    ],
    ids=str,
)
def test_what_cannot_be_cut_out_is_refused(model, asked, message):
    with pytest.raises(RecipeError, match=message) as caught:
        resolve_shape(model, **asked)
    assert caught.value.hint


def test_layers_that_are_narrower_already_stay_so(tmp_path):
    model = load_checkpoint(make_checkpoint(tmp_path / "m"))
    model_layers(model)[0].cut(heads=[1], ffn=range(16))
    shape = resolve_shape(model, heads=3, ffn=48)
    assert shape.heads == (1, 3)
    assert shape.ffn == (16, 48)


def test_electra_keeps_the_projection_behind_its_embeddings(tmp_path):
    model = load_checkpoint(make_checkpoint(tmp_path / "m", "electra"))  # 32 wide, embeddings 16 wide
    with pytest.raises(RecipeError, match="as wide as the embeddings"):
        resolve_shape(model, hidden=16)


def test_heads_with_rotary_positions_stay_as_wide_as_they_are(tmp_path):
    """Each pair of their dimensions is turned by an angle of its own, which the width of the head decides."""
    teacher = load_checkpoint(make_checkpoint(tmp_path / "m", "modernbert", hidden=48, heads=6))
    assert resolve_shape(teacher, hidden=32).head_size == 8
    with pytest.raises(RecipeError, match=r"8 wide: rotary"):
        resolve_shape(teacher, hidden=24, heads=6)
