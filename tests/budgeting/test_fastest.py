"""The fastest model that keeps to a drop: which latencies are tried, what is kept, and what an interruption costs."""

from dataclasses import replace
from functools import partial

import pytest
from models import make_checkpoint

from edgelm import load_device
from edgelm.anatomy.sizes import sizes_of
from edgelm.budget import Budget
from edgelm.budgeting.fastest import find_fastest
from edgelm.budgeting.targets import resolve_budget
from edgelm.checkpoint import StageRecord, open_checkpoint
from edgelm.compress.pipeline import CompressResult
from edgelm.data.dataset import Dataset
from edgelm.latency_table import count_operations


def aim_at(folder):
    """`resolve_budget` at budgets of a small model, whose costs are operations."""
    checkpoint = open_checkpoint(make_checkpoint(folder / "m"))
    table = replace(
        count_operations(sizes_of(checkpoint.config, task=checkpoint.task), 9), source="measured", precision="int8"
    )
    rows = Dataset(
        "memory", texts=("a", "b"), labels=(0, 1), label_names=("negative", "positive"), problem="single-label"
    )
    return partial(
        resolve_budget, checkpoint=checkpoint, rows=rows, precision="int8", device=load_device("cpu"), table=table
    )


def losing(speedups_that_hold):
    """A compression that loses two points where it had to be more than so many times as fast as the original."""

    def make(output, goal, time_limit, began=None):
        (bound,) = goal.bounds
        factor = bound.table.predict(bound.table.sizes.full()) / bound.allowed
        calls.append((round(factor, 2), time_limit))
        checkpoint = open_checkpoint(make_checkpoint(output))
        lost = 0.02 if factor > speedups_that_hold else 0.0
        stage = StageRecord("fit", {}, 0, {"accuracy": 0.9}, {"accuracy": 0.9 - lost}, 1, 1.0)
        checkpoint.record.with_stage(stage).write(output)
        return CompressResult(output, open_checkpoint(output).record, {"metrics": {"accuracy": 0.9}}, 1, 1.0)

    calls = []
    return make, calls


@pytest.mark.parametrize(
    ("hold", "tried"), [(5.0, [2, 4, 8, 5.66]), (100.0, [2, 4, 8, 16]), (1.0, [2, 1.41, 1.19, 1.09])]
)
def test_a_drop_alone_finds_the_fastest_that_holds(tmp_path, hold, tried):
    make, calls = losing(hold)
    found = find_fastest(
        Budget(max_drop=1.0), aim_at(tmp_path), make, asked="a", output=tmp_path / "out", time_limit=40.0
    )
    assert calls == [(factor, 10.0) for factor in tried]
    assert found.met == (hold > 1)
    assert [verdict.name for verdict in found.verdicts] == ["drop"]
    assert open_checkpoint(tmp_path / "out").record == found.result.record
    assert not (tmp_path / "out.tries").exists()


def test_an_interrupted_search_for_the_fastest_goes_on(tmp_path):
    make, calls = losing(5.0)

    def cut_off(**options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return make(**options)

    with pytest.raises(KeyboardInterrupt):
        find_fastest(Budget(max_drop=1.0), aim_at(tmp_path), cut_off, asked="a", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    find_fastest(Budget(max_drop=1.0), aim_at(tmp_path), make, asked="a", output=tmp_path / "out")
    assert [factor for factor, _ in calls] == [2, 4, 8, 5.66]
