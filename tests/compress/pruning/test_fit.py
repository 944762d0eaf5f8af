"""Cuts to a goal: the choice against brute force, the surgery against the function it must keep, the budget against
what was cut."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import ANATOMIES, TEXTS, make_checkpoint

from edgelm import compress
from edgelm.anatomy import TaskModel, layer_shapes, load_checkpoint, load_tokenizer, model_layers, model_outputs
from edgelm.anatomy.sizes import sizes_of
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.pruning.choices import shapes_of
from edgelm.compress.pruning.constraints import Constraint, Constraints
from edgelm.compress.pruning.fit import Material, _within
from edgelm.compress.pruning.levels import ATTENTION, FFN, Level, ModuleLevels, channel_counts, obs_levels
from edgelm.compress.pruning.reconstruct import reconstruct
from edgelm.compress.pruning.spdy import assemble, cheapest, least_error, pick_levels, search, segments
from edgelm.compress.pruning.successive_halving import race
from edgelm.data.dataset import Dataset
from edgelm.latency_table import count_operations
from edgelm.progress import silent
from edgelm.recipe import FitSettings, RaceSettings, Recipe, RecoverSettings
from edgelm.report.tables import layer_table
from edgelm.shapes import LayerShape, ModelSizes
from edgelm.training_settings import TrainSettings

ROWS = Dataset(
    "memory",
    texts=TEXTS,
    labels=tuple(index % 2 for index in range(len(TEXTS))),
    label_names=("negative", "positive"),
    problem="single-label",
)
SIZES = ModelSizes(layers=2, hidden=32, heads=4, ffn=64, vocabulary=100)


def module(layer, kind, errors):
    """A module with as many units as errors less one."""
    count = len(errors) - 1
    return ModuleLevels(
        layer, kind, tuple(Level(tuple(range(count - index)), error) for index, error in enumerate(errors))
    )


def layer_cost(heads, channels):
    """A head costs 2, a channel 1, and the norms of a layer that has any 3."""
    return 2 * heads + channels + 3 * bool(heads or channels)


def shape_cost(shape):
    return layer_cost(shape.heads, shape.ffn)


steps = st.lists(st.integers(0, 20), min_size=1, max_size=3)


@settings(deadline=None)
@given(st.lists(st.tuples(steps, steps), min_size=1, max_size=3), st.integers(0, 25))
def test_the_choice_is_that_of_brute_force(layers, allowance):
    rising = [[[0, *np.cumsum(part).tolist()] for part in parts] for parts in layers]
    module_levels = [
        module(layer, kind, errors)
        for layer, parts in enumerate(rising)
        for kind, errors in zip(("attention", "ffn"), parts, strict=True)
    ]
    every = list(itertools.product(*(range(len(item.levels)) for item in module_levels)))

    def used(picks):
        units = [len(item.levels[pick].units) for item, pick in zip(module_levels, picks, strict=True)]
        return sum(map(layer_cost, units[::2], units[1::2])) if any(units) else np.inf  # a layer stays

    def lost(picks):
        return sum(item.levels[pick].error for item, pick in zip(module_levels, picks, strict=True))

    best = min((lost(picks) for picks in every if used(picks) <= allowance), default=None)
    if best is None:
        with pytest.raises(ValueError, match="within the allowance"):
            least_error(module_levels, shape_cost, allowance + 0.5)
        assert used(cheapest(module_levels, shape_cost)) == 4
        return
    picks = least_error(module_levels, shape_cost, allowance + 0.5)  # uses are rounded up by a few thousandths
    assert used(picks) <= allowance
    assert lost(picks) == best


def test_the_search_finds_what_the_whole_model_loses_least_by(tmp_path):
    """Levels say that two modules cost alike; the loss says that one of them is dear."""
    folder = make_checkpoint(tmp_path / "m")
    model = load_checkpoint(folder)
    module_levels = [
        ModuleLevels(layer, "ffn", tuple(Level(tuple(range(count)), 1 - count / 64) for count in (64, 32, 0)))
        for layer in (0, 1)
    ]
    picks = search(
        model, module_levels, lambda shape: shape.ffn, 64, lambda made: 64 - model_layers(made)[-1].ffn, tries=30
    )
    assert picks == [2, 0]


def test_channel_counts_fall_to_none_in_whole_multiples():
    counts = channel_counts(1536, 32)
    assert counts[0] == 1536
    assert counts[-2:] == [32, 0]
    assert counts == sorted(set(counts), reverse=True)
    assert all(count % 32 == 0 for count in counts)
    assert channel_counts(20, 32) == [20, 0]


@pytest.mark.parametrize("family", ANATOMIES)
def test_units_that_say_nothing_go_without_a_trace(tmp_path, family):
    folder = make_checkpoint(tmp_path / "m", family)
    model, tokenizer, task = load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task
    with torch.no_grad():
        for layer in model_layers(model):
            layer.module("attention_output").weight[:, : layer.head_size] = 0
            layer.module("ffn_out").weight[:, 32:] = 0
    module_levels = obs_levels(TaskModel(model, tokenizer, task, 64), ROWS, multiple=32, progress=silent)
    picks = [
        next(
            index
            for index, level in enumerate(item.levels)
            if len(level.units) == (3 if item.kind == "attention" else 32)
        )
        for item in module_levels
    ]
    smaller = assemble(model, pick_levels(module_levels, picks))
    assert [(shape.heads, shape.ffn) for shape in layer_shapes(smaller)] == [(3, 32)] * 2
    assert shapes_of(model, module_levels, picks) == layer_shapes(smaller)
    inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
    with torch.inference_mode():
        wanted, found = (model_outputs(each, task, inputs)[0] for each in (model, smaller))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)  # weights went through float64 and back


@pytest.mark.parametrize("family", ["bert", "mpnet", "modernbert", "deberta-v2"])  # norms behind and before; positions
def test_reconstruction_brings_a_cut_model_nearer_to_its_original(tmp_path, family):
    folder = make_checkpoint(tmp_path / "m", family, hidden=32, ffn=64)
    model, tokenizer, task = load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task
    cut = assemble(
        model,
        [(ModuleLevels(layer, "ffn", ()), Level(tuple(range(0, 64, 2)), 0.0)) for layer in (0, 1)]
        + [(ModuleLevels(0, "attention", ()), Level((0, 2), 0.0))],
    )
    mended = reconstruct(cut, TaskModel(model, tokenizer, task, 64), ROWS, sources=[(0, 0), (1, 1)])
    inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))

    def distance(made):
        with torch.inference_mode():
            hidden, wanted = (model_outputs(each, task, inputs, hidden_states=True)[1][1] for each in (made, model))
        real = inputs["attention_mask"].bool()
        return float((hidden - wanted)[real].square().mean())

    assert distance(mended) < 0.5 * distance(cut)
    same = reconstruct(model, TaskModel(model, tokenizer, task, 64), ROWS, sources=[(0, 0), (1, 1)])
    whole = dict(model.named_parameters())
    for name, found in same.named_parameters():
        wanted = whole.get(name, torch.zeros(len(found)))  # a bias that the family lacks
        torch.testing.assert_close(found, wanted, atol=2e-2, rtol=2e-2)  # the target is in half precision


@pytest.mark.parametrize("family", ANATOMIES)
def test_a_layer_with_nothing_left_goes_whole(tmp_path, family):
    """Its norm stays: the layer before it gives what it would have given, once the least squares are solved."""
    folder = make_checkpoint(tmp_path / "m", family, layers=3)
    model, tokenizer, task = load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task
    if norm := model_layers(model)[1].output_norm:  # none where norms stand before the sublayers
        torch.nn.init.constant_(norm.weight, 2.0)
    gone = [(ModuleLevels(1, kind, ()), Level((), 0.0)) for kind in ("attention", "ffn")]
    smaller = assemble(model, gone)
    assert len(model_layers(smaller)) == 2
    if norm := model_layers(smaller)[0].output_norm:
        assert float(norm.weight[0].detach()) == 2.0
    mended = reconstruct(
        smaller, TaskModel(model, tokenizer, task, 64), ROWS, sources=segments([0, 2], ["encoder"] * 3)
    )
    inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))

    def distance(made):
        with torch.inference_mode():
            found, wanted = (
                model_outputs(made, task, inputs, hidden_states=True)[1][1],
                model_outputs(model, task, inputs, hidden_states=True)[1][2],
            )
        return float((found - wanted)[inputs["attention_mask"].bool()].square().mean())

    assert distance(mended) < 0.5 * distance(smaller)


def test_a_cut_says_which_layers_it_left(tmp_path):
    """Where norms are dear, a layer goes; what is left is found again after loading, and cut once more."""
    folder = make_checkpoint(tmp_path / "m", layers=4)
    table = count_operations(sizes_of(load_checkpoint(folder).config), 9)
    table = replace(table, layer=table.predict(table.sizes.full()))
    cut = FitSettings(tries=1, multiple=16)
    recipe = Recipe(name="test", stages=(replace_share(cut, 0.5), cut))
    goal = Constraints((Constraint("operations", table, 0.45 * table.predict(table.sizes.full())),))
    result = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out", goal=goal)
    layers = result.record.layers
    assert 1 <= len(layers) <= 3
    assert [shape.origin for shape in layers] == sorted({shape.origin for shape in layers} & set(range(4)))
    assert layer_shapes(load_checkpoint(result.path)) == tuple(LayerShape(shape.heads, shape.ffn) for shape in layers)
    header, rows = layer_table({"manifest": {"lineage": result.record.to_dict()}})
    assert len(rows) == 4  # those that are gone too
    priced = [place for place, title in enumerate(header) if "operations" in title]
    assert sum(float(row[place]) for row in rows for place in priced) == pytest.approx(
        table.predict(layers), rel=0.01
    )  # of three digits


def test_a_goal_that_is_half_way_is_the_geometric_mean():
    table = count_operations(SIZES, 16)
    whole = table.predict(SIZES.full())
    goal = Constraints((Constraint("operations", table, whole / 16),)).partway(0.5, SIZES.full(), SIZES.vocabulary)
    assert goal.bounds[0].allowed == pytest.approx(whole / 4)


@pytest.mark.parametrize("method", ["obs", "fisher", "both"])
def test_a_recipe_cuts_to_its_share_of_operations(tmp_path, method):
    folder = make_checkpoint(tmp_path / "m")
    recipe = Recipe(
        name="test",
        stages=(FitSettings(method=method, speedup=2.0, tries=3, multiple=16, reconstruct=method == "fisher"),),
    )
    result = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out")
    model = load_checkpoint(result.path)
    table = count_operations(sizes_of(load_checkpoint(folder).config), 9)
    share = table.predict(layer_shapes(model)) / table.predict(table.sizes.full())
    assert share <= 0.51
    assert result.record.layers == tuple(
        replace(shape, kept_heads=known.kept_heads, origin=known.origin)
        for shape, known in zip(layer_shapes(model), result.record.layers, strict=True)
    )
    assert all(len(shape.kept_heads) == shape.heads for shape in result.record.layers)


@pytest.mark.parametrize("method", ["obs", "both"])
def test_a_second_cut_goes_on_from_the_first_and_what_was_learnt_in_between(tmp_path, method):
    stage = FitSettings(method=method, speedup=4.0, tries=1, multiple=16)
    learn = RecoverSettings(train=TrainSettings(max_steps=2, batch_size=4))
    recipe = Recipe(name="test", stages=(replace_share(stage, 0.5), learn, stage))
    result = compress(
        make_checkpoint(tmp_path / "m"), dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out"
    )
    first, learnt, second = (stage.parameters for stage in result.record.stages)
    assert second < first == learnt < result.original["parameters"]


def replace_share(stage, share):
    return stage.model_copy(update={"share": share})


def test_a_goal_beyond_all_cuts_is_approached(tmp_path):
    """What stays costs more than is allowed: one layer is left, with its smallest part."""
    folder = make_checkpoint(tmp_path / "m")
    table = replace(count_operations(sizes_of(load_checkpoint(folder).config), 9), rest=1.0)
    recipe = Recipe(name="test", stages=(FitSettings(tries=1, multiple=16),))
    goal = Constraints((Constraint("operations", table, 0.5),))
    result = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out", goal=goal)
    assert [(shape.heads, shape.ffn) for shape in result.record.layers] == [(0, 16)]


def test_tokens_that_are_gone_make_room_for_heads():
    table = replace(count_operations(SIZES, 16), rest=10.0)
    bound = Constraint("size", table, 8.0, per_token=0.1).with_vocabulary(40)
    assert bound.table.rest == pytest.approx(4.0)
    assert bound.table.sizes.vocabulary == 40


def test_two_bounds_hold_at_once(tmp_path):
    """One counts heads alone, the other channels alone: neither is free to be traded for the other."""
    folder = make_checkpoint(tmp_path / "m")
    sizes = sizes_of(load_checkpoint(folder).config)
    empty = count_operations(sizes, 9)
    heads = replace(empty, attention={0: 0.0, 4: 4.0}, ffn={0: 0.0, 64: 0.0})
    channels = replace(empty, attention={0: 0.0, 4: 0.0}, ffn={0: 0.0, 64: 64.0})
    goal = Constraints((Constraint("heads", heads, 5.0), Constraint("channels", channels, 80.0)))
    recipe = Recipe(name="test", stages=(FitSettings(tries=2, multiple=16),))
    result = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out", goal=goal)
    assert sum(shape.heads for shape in result.record.layers) <= 5
    assert sum(shape.ffn for shape in result.record.layers) <= 80


@pytest.mark.parametrize("wanted", ["heads", "ffn"])
def test_no_try_trades_one_bound_for_the_other(tmp_path, wanted):
    """The loss asks for as many heads, or channels, as can be had: only those tries count that keep within both
    bounds."""
    model = load_checkpoint(make_checkpoint(tmp_path / "m", layers=4))
    empty = count_operations(sizes_of(model.config), 9)
    bounds = {
        "heads": Constraint(
            "heads", replace(empty, rest=0.0, layer=0.0, attention={0: 0.0, 4: 4.0}, ffn={0: 0.0, 64: 0.0}), 9.0
        ),
        "ffn": Constraint(
            "channels", replace(empty, rest=0.0, layer=0.0, attention={0: 0.0, 4: 0.0}, ffn={0: 0.0, 64: 64.0}), 7.0
        ),
    }
    module_levels = [module(layer, kind, [0, 1, 2, 4, 8]) for layer in range(4) for kind in (ATTENTION, FFN)]
    material = Material(TaskModel(model, None, None), ROWS, 0, tmp_path)

    def loss(made):
        return -sum(getattr(layer, wanted) for layer in model_layers(made))

    picks = _within(model, module_levels, Constraints(tuple(bounds.values())), loss, tries=60, material=material)
    shapes = shapes_of(model, module_levels, picks)
    for name, bound in bounds.items():
        assert 0 < sum(getattr(shape, name) for shape in shapes) <= bound.allowed


def test_a_measured_cost_that_differs_from_the_table_is_followed(tmp_path):
    """The table says three quarters of what is true: the cut must go on until the truth fits."""
    folder = make_checkpoint(tmp_path / "m")
    table = count_operations(sizes_of(load_checkpoint(folder).config), 9)
    whole = table.predict(table.sizes.full())
    goal = Constraints((Constraint("latency", table, whole, lambda shapes: 4 / 3 * table.predict(shapes)),))
    recipe = Recipe(name="test", stages=(FitSettings(tries=2, multiple=4),))
    result = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out", goal=goal)
    assert 0.7 * whole <= 4 / 3 * table.predict(result.record.layers) <= 1.05 * whole


def test_shapes_are_those_of_layers():
    assert SIZES.full() == (LayerShape(4, 64),) * 2


def test_cuts_race_and_one_of_them_wins(tmp_path):
    """What the race is left with is within the goal, and was trained."""
    folder = make_checkpoint(tmp_path / "m", layers=3)
    stage = FitSettings(speedup=2.0, tries=1, multiple=16, race=RaceSettings(steps=2, batch_size=4, precision="fp32"))
    recipe = Recipe(name="test", stages=(stage,))
    result = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out")
    table = count_operations(sizes_of(load_checkpoint(folder).config), 9)
    model = load_checkpoint(result.path)
    assert table.predict(layer_shapes(model)) <= 0.51 * table.predict(table.sizes.full())
    assert not list((tmp_path / "out.work").glob("*"))
    embedding, before = (load_checkpoint(path).get_input_embeddings().weight for path in (result.path, folder))
    assert not torch.equal(embedding, before)


def test_the_race_goes_to_the_one_that_loses_least(tmp_path):
    models = [load_checkpoint(make_checkpoint(tmp_path / "m", layers=3)) for _ in range(5)]
    folder = tmp_path / "m"
    marks = {id(model): float(abs(place - 3)) for place, model in enumerate(models)}
    common = {
        "teacher": TaskModel(load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task, 16),
        "rows": ROWS,
        "seed": 0,
        "progress": silent,
    }
    winner = race(
        models,
        RaceSettings(steps=1, batch_size=2, precision="fp32"),
        loss=lambda model: marks[id(model)],
        work=tmp_path / "race",
        seconds=None,
        **common,
    )
    assert winner == 3
    assert not (tmp_path / "race").exists()
