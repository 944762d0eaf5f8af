"""A cut that must end in time: what there is no time for is left out and told, and the goal is kept all the same."""

import time
import warnings

import pytest
from models import TEXTS, make_checkpoint

from edgelm import compress
from edgelm.anatomy import TaskModel, layer_shapes, load_checkpoint, load_tokenizer
from edgelm.anatomy.sizes import sizes_of
from edgelm.checkpoint import open_checkpoint
from edgelm.clock import TimeLimitWarning
from edgelm.compress.pruning import allotted as module
from edgelm.compress.pruning.allotted import Allotted, Entry, gradient_rows, race_within, surgery_rows
from edgelm.compress.pruning.constraints import Constraint, Constraints
from edgelm.compress.pruning.settle import settle
from edgelm.compress.training.time_limit import Allowance
from edgelm.data.dataset import Dataset
from edgelm.latency_table import count_operations
from edgelm.recipe import FitSettings, RaceSettings, Recipe, RecoverSettings
from edgelm.training_settings import TrainSettings

ROWS = Dataset(
    "memory",
    texts=TEXTS,
    labels=tuple(index % 2 for index in range(len(TEXTS))),
    label_names=("negative", "positive"),
    problem="single-label",
)
MANY = Dataset("memory", texts=TEXTS * 200)
FIT = FitSettings(speedup=2.0, tries=3, multiple=16, race=RaceSettings(steps=2, batch_size=4, precision="fp32"))


@pytest.fixture
def reader(tmp_path):
    folder = make_checkpoint(tmp_path / "m", layers=3)
    return TaskModel(load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task, 16)


def clocked(seconds):
    """Seconds that pass when they are told to."""
    now = [0.0]
    return Allotted(seconds, clock=lambda: now[0]), now


def paced(monkeypatch, *, row=0.0, surgery=0.0):
    monkeypatch.setattr(module, "_row_seconds", lambda model, rows: max(row, 1e-9))
    monkeypatch.setattr(module, "_surgery_seconds", lambda model: surgery)


def test_without_a_limit_nothing_is_left_out(reader):
    allotted = Allotted(None)
    assert surgery_rows(reader, MANY, allotted, share=0.4) is MANY
    assert gradient_rows(reader, MANY, allotted, share=0.4) is MANY
    planned = Entry(7, 1024, None)
    assert race_within(planned, reader, MANY, allotted, 128) is planned
    assert not allotted.over(0.0)
    assert allotted.left_out == []


def test_the_surgeon_looks_at_as_many_rows_as_there_is_time_for(reader, monkeypatch):
    paced(monkeypatch, row=0.01, surgery=36.0)
    allotted, now = clocked(100.0)
    assert len(surgery_rows(reader, MANY, allotted, share=0.4)) == 200  # 4 s, two passes of 10 ms a row
    now[0] = 3.5
    assert surgery_rows(reader, MANY, allotted, share=0.4) is None
    assert len(gradient_rows(reader, MANY, allotted, share=0.4)) == 1216  # 36.5 s, three passes
    assert any("optimal brain surgeon" in said for said in allotted.left_out)


def test_a_race_is_judged_on_fewer_rows_and_then_run_by_fewer_models(reader, monkeypatch):
    paced(monkeypatch, row=0.01)
    whole, fewer, few, none = (
        race_within(Entry(7, 1024, seconds / 2), reader, MANY, clocked(seconds)[0], 128)
        for seconds in (1000.0, 200.0, 20.0, 4.0)
    )
    assert whole == Entry(7, 1024, 500.0)
    assert fewer is not None
    assert (fewer.models, fewer.judged) == (7, 128)
    assert few is not None
    assert 2 <= few.models < 7
    assert few.seconds is not None
    assert few.seconds + few.judged * (1 + 2 * few.models) * 0.01 <= 20.0
    assert none is None


def test_a_choice_that_there_is_no_time_to_measure_is_that_of_the_tables():
    def measure(shapes):
        raise AssertionError("measured")

    table = count_operations(
        sizes_of(
            {
                "model_type": "bert",
                "vocab_size": 9,
                "hidden_size": 8,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 16,
                "max_position_embeddings": 16,
            }
        ),
        9,
    )
    goal = Constraints((Constraint("latency", table, 1.0, measure),))
    assert settle(goal, lambda goal, tries: [1, 2], lambda picks: (), 5, enough=lambda: True) == [1, 2]


def test_cuts_have_half_of_the_time_where_trainings_follow():
    trained = RecoverSettings(train=TrainSettings(epochs=1))
    allowed = Allowance(100.0, time.monotonic())
    assert allowed.cutting_seconds([FIT, trained], 0.0) == pytest.approx(42.5, abs=0.5)
    assert allowed.cutting_seconds([FIT, trained, FIT, trained], 0.0) == pytest.approx(21.25, abs=0.5)
    assert allowed.cutting_seconds([FIT], 10.0) == pytest.approx(76.5, abs=0.5)
    assert Allowance(None, 0.0).cutting_seconds([FIT], 0.0) is None


def test_a_budget_in_a_short_limit_is_kept_and_the_record_says_what_was_left_out(tmp_path, monkeypatch):
    """A surgeon that would take an hour: gradients stand in, and nothing races in less than a second."""
    monkeypatch.setattr(module, "_surgery_seconds", lambda model: 3600.0)
    folder = make_checkpoint(tmp_path / "m", layers=3)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = compress(
            folder,
            dataset=ROWS,
            evaluation=ROWS,
            recipe=Recipe(name="test", stages=(FIT,)),
            output=tmp_path / "out",
            time_limit=3.0,
        )
    table = count_operations(sizes_of(load_checkpoint(folder).config), 9)
    assert table.predict(layer_shapes(load_checkpoint(result.path))) <= 0.51 * table.predict(table.sizes.full())
    (stage,) = open_checkpoint(result.path).record.stages
    assert any("optimal brain surgeon" in said for said in stage.left_out)
    assert any(
        "left out: optimal brain surgeon" in str(each.message) for each in told if each.category is TimeLimitWarning
    )
