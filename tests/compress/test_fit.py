"""Cuts to a goal: the choice against brute force, the surgery against the function it must keep, the budget against what was cut."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TEXTS, make_checkpoint

from edgelm import compress
from edgelm.anatomy import blocks, layer_shapes, load_checkpoint, load_tokenizer, model_outputs
from edgelm.checkpoint import LayerShape, open_checkpoint
from edgelm.compress.choose import assemble, choose, pick_rungs, search
from edgelm.compress.fit import shapes_of
from edgelm.compress.goal import Bound, Goal, sizes_of
from edgelm.compress.ladders import Ladder, Rung, channel_counts, surgeon_ladders
from edgelm.compress.reconstruct import reconstruct
from edgelm.dataset import Dataset
from edgelm.latency import EncoderSizes, count_operations
from edgelm.progress import silent
from edgelm.recipe import FitSettings, Recipe

ROWS = Dataset(
    "memory", texts=TEXTS, labels=tuple(index % 2 for index in range(len(TEXTS))), label_names=("negative", "positive"), problem="single-label"
)
SIZES = EncoderSizes(layers=2, hidden=32, heads=4, ffn=64, vocabulary=100)


def ladder(layer, errors):
    """A module with as many units as errors less one."""
    count = len(errors) - 1
    return Ladder(layer, "ffn", tuple(Rung(tuple(range(count - index)), error) for index, error in enumerate(errors)))


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 20), min_size=2, max_size=4), min_size=1, max_size=4),
    st.integers(0, 12),
)
def test_the_choice_is_that_of_brute_force(errors, allowance):
    ladders = [ladder(index, [0, *np.cumsum(steps).tolist()]) for index, steps in enumerate(errors)]
    every = list(itertools.product(*(range(len(item.rungs)) for item in ladders)))

    def used(picks):
        return sum(len(item.rungs[pick].units) for item, pick in zip(ladders, picks, strict=True))

    def lost(picks):
        return sum(item.rungs[pick].error for item, pick in zip(ladders, picks, strict=True))

    best = min(lost(picks) for picks in every if used(picks) <= allowance)
    picks = choose(ladders, lambda _, units: units, allowance + 0.5)  # uses are rounded up by a few thousandths
    assert used(picks) <= allowance
    assert lost(picks) == best


def test_the_search_finds_what_the_whole_model_loses_least_by(tmp_path):
    """Ladders say that two modules cost alike; the loss says that one of them is dear."""
    folder = make_checkpoint(tmp_path / "m")
    model = load_checkpoint(folder)
    ladders = [Ladder(layer, "ffn", tuple(Rung(tuple(range(count)), 1 - count / 64) for count in (64, 32, 0))) for layer in (0, 1)]
    picks = search(model, ladders, lambda _, units: units, 64, lambda made: 64 - blocks(made)[1].ffn, tries=30)
    assert picks == [2, 0]


def test_channel_counts_fall_to_none_in_whole_multiples():
    counts = channel_counts(1536, 32)
    assert counts[0] == 1536
    assert counts[-2:] == [32, 0]
    assert counts == sorted(set(counts), reverse=True)
    assert all(count % 32 == 0 for count in counts)
    assert channel_counts(20, 32) == [20, 0]


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra"])
def test_units_that_say_nothing_go_without_a_trace(tmp_path, family):
    folder = make_checkpoint(tmp_path / "m", family)
    model, tokenizer, task = load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task
    with torch.no_grad():
        for block in blocks(model):
            block.module("attention_output").weight[:, : block.head_size] = 0
            block.module("ffn_out").weight[:, 32:] = 0
    ladders = surgeon_ladders(model, tokenizer, task, ROWS, multiple=32, max_length=64, progress=silent)
    picks = [next(index for index, rung in enumerate(item.rungs) if len(rung.units) == (3 if item.kind == "attention" else 32)) for item in ladders]
    smaller = assemble(model, pick_rungs(ladders, picks))
    assert [(shape.heads, shape.ffn) for shape in layer_shapes(smaller)] == [(3, 32)] * 2
    assert shapes_of(model, ladders, picks) == layer_shapes(smaller)
    inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
    with torch.inference_mode():
        wanted, found = (model_outputs(each, task, inputs)[0] for each in (model, smaller))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)  # weights went through float64 and back


def test_reconstruction_brings_a_cut_model_nearer_to_its_original(tmp_path):
    folder = make_checkpoint(tmp_path / "m", hidden=32, ffn=64)
    model, tokenizer, task = load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task
    cut = assemble(
        model, [(Ladder(layer, "ffn", ()), Rung(tuple(range(0, 64, 2)), 0.0)) for layer in (0, 1)] + [(Ladder(0, "attention", ()), Rung((0, 2), 0.0))]
    )
    mended = reconstruct(cut, model, tokenizer, task, ROWS, max_length=64)
    inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))

    def distance(made):
        with torch.inference_mode():
            hidden, wanted = (model_outputs(each, task, inputs, hidden_states=True)[1][1] for each in (made, model))
        real = inputs["attention_mask"].bool()
        return float((hidden - wanted)[real].square().mean())

    assert distance(mended) < 0.5 * distance(cut)
    same = reconstruct(model, model, tokenizer, task, ROWS, max_length=64)
    for one, other in zip(same.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-2, rtol=2e-2)  # the target is in half precision


def test_a_goal_that_is_half_way_is_the_geometric_mean():
    table = count_operations(SIZES, 16)
    whole = table.predict(SIZES.full())
    goal = Goal((Bound("operations", table, whole / 16),)).on_the_way(0.5, SIZES.full(), SIZES.vocabulary)
    assert goal.bounds[0].allowed == pytest.approx(whole / 4)


@pytest.mark.parametrize("method", ["obs", "fisher"])
def test_a_recipe_cuts_to_its_share_of_operations(tmp_path, method):
    folder = make_checkpoint(tmp_path / "m")
    recipe = Recipe(name="test", stages=(FitSettings(method=method, speedup=2.0, tries=3, multiple=16, reconstruct=method == "fisher"),))
    result = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out")
    model = load_checkpoint(result.path)
    table = count_operations(sizes_of(load_checkpoint(folder)), 9)
    share = table.predict(layer_shapes(model)) / table.predict(table.sizes.full())
    assert share <= 0.51
    assert result.record.layers == tuple(
        replace(shape, kept_heads=known.kept_heads) for shape, known in zip(layer_shapes(model), result.record.layers, strict=True)
    )
    assert all(len(shape.kept_heads) == shape.heads for shape in result.record.layers)


def test_a_second_cut_goes_on_from_the_first(tmp_path):
    stage = FitSettings(speedup=4.0, tries=1, multiple=16)
    recipe = Recipe(name="test", stages=(replace_share(stage, 0.5), stage))
    result = compress(make_checkpoint(tmp_path / "m"), dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out")
    first, second = (stage.parameters for stage in result.record.stages)
    assert second < first < result.original["parameters"]


def replace_share(stage, share):
    return stage.model_copy(update={"share": share})


def test_a_goal_beyond_all_cuts_is_approached(tmp_path):
    """What stays costs more than is allowed: every module keeps its smallest part, and is not destroyed for nothing."""
    folder = make_checkpoint(tmp_path / "m")
    table = replace(count_operations(sizes_of(load_checkpoint(folder)), 9), rest=1.0)
    recipe = Recipe(name="test", stages=(FitSettings(tries=1, multiple=16),))
    goal = Goal((Bound("operations", table, 0.5),))
    result = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out", goal=goal)
    assert [(shape.heads, shape.ffn) for shape in result.record.layers] == [(1, 16)] * 2


def test_tokens_that_are_gone_make_room_for_heads():
    table = replace(count_operations(SIZES, 16), rest=10.0)
    bound = Bound("size", table, 8.0, per_token=0.1).with_vocabulary(40)
    assert bound.table.rest == pytest.approx(4.0)
    assert bound.table.sizes.vocabulary == 40


def test_two_bounds_hold_at_once(tmp_path):
    """One counts heads alone, the other channels alone: neither is free to be traded for the other."""
    folder = make_checkpoint(tmp_path / "m")
    sizes = sizes_of(load_checkpoint(folder))
    empty = count_operations(sizes, 9)
    heads = replace(empty, attention={0: 0.0, 4: 4.0}, ffn={0: 0.0, 64: 0.0})
    channels = replace(empty, attention={0: 0.0, 4: 0.0}, ffn={0: 0.0, 64: 64.0})
    goal = Goal((Bound("heads", heads, 5.0), Bound("channels", channels, 80.0)))
    recipe = Recipe(name="test", stages=(FitSettings(tries=2, multiple=16),))
    result = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out", goal=goal)
    assert sum(shape.heads for shape in result.record.layers) <= 5
    assert sum(shape.ffn for shape in result.record.layers) <= 80


def test_a_measured_cost_that_differs_from_the_table_is_followed(tmp_path):
    """The table says half of what is true: the cut must go on until the truth fits."""
    folder = make_checkpoint(tmp_path / "m")
    table = count_operations(sizes_of(load_checkpoint(folder)), 9)
    whole = table.predict(table.sizes.full())
    goal = Goal((Bound("latency", table, whole, lambda shapes: 2 * table.predict(shapes)),))
    recipe = Recipe(name="test", stages=(FitSettings(tries=2, multiple=4),))
    result = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out", goal=goal)
    assert 0.7 * whole <= 2 * table.predict(result.record.layers) <= 1.05 * whole


def test_shapes_are_those_of_layers():
    assert SIZES.full() == (LayerShape(4, 64),) * 2
