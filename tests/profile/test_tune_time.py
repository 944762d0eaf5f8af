"""The time limit of `edgelm tune`, by a clock that tests turn: what is begun, what is left out, what is told early."""

from __future__ import annotations

import pytest
from bundles import make_bundle

from edgelm.errors import UsageError
from edgelm.profile import tune as tuning
from edgelm.profile import tune_bench
from edgelm.profile.tune import tune


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "bundle")


class SlowWorkers:
    """Stands for the processes of `tune`: each takes its time to start and for a call, by a clock that tests turn.

    Args:
        start_s, call_s: how long.
        slower: how many times as long calls take once all processes of a comparison are there.
    """

    def __init__(self, monkeypatch, start_s, call_s, *, slower=1.0):
        self.now, self.start_s, self.call_s, self.slower = 0.0, start_s, call_s, slower
        self.open = self.begun = 0
        monkeypatch.setattr("edgelm.clock.monotonic", lambda: self.now)
        monkeypatch.setattr("edgelm.profile.interleave.time.sleep", self.pass_by)
        monkeypatch.setattr(tune_bench, "WorkerClient", self.start)
        monkeypatch.setattr(tuning, "check_answers", lambda path: self.pass_by(1.0))
        monkeypatch.setattr(tuning, "save_settings", lambda *_: self.pass_by(1.0))
        monkeypatch.setattr(tuning, "add_optimized_graph", lambda *_: None)

    def pass_by(self, seconds):
        self.now += seconds

    def start(self, subject, *, threads):
        self.pass_by(self.start_s)
        self.open, self.begun = self.open + 1, self.begun + 1
        return self

    def close(self):
        self.open -= 1

    def ask(self, what, *, count=0, skip=0, **values):
        if what == "memory":
            return {"peak_mb": 100.0}
        if what == "block":
            each = self.call_s * (self.slower if self.open > 1 else 1.0)
            self.pass_by(each * (count + skip))
            return {"samples_ms": [1000 * each] * count}
        return {"samples_ms": [10.0]}


@pytest.mark.parametrize(("start_s", "call_s"), [(0.5, 0.001), (2.0, 0.01), (1.0, 0.05), (4.0, 0.002)])
def test_tuning_ends_in_time_whatever_a_process_and_a_call_take(bundle, monkeypatch, start_s, call_s):
    workers = SlowWorkers(monkeypatch, start_s, call_s)
    found = tune(bundle, time_limit=60, began=-3.0)  # three seconds went to imports
    assert found.seconds == workers.now + 3.0 <= 60
    assert found.trials
    assert bool(found.skipped) == (start_s >= 2 or call_s >= 0.05)
    assert workers.open == 0


def test_calls_that_get_slower_beside_others_are_fewer(bundle, monkeypatch):
    workers = SlowWorkers(monkeypatch, 1.0, 0.04, slower=4.0)
    assert tune(bundle, time_limit=60).seconds <= 66
    assert workers.open == 0


def test_a_time_that_holds_no_comparison_is_told_once_a_process_has_started(bundle, monkeypatch):
    workers = SlowWorkers(monkeypatch, 5.0, 0.01)
    with pytest.raises(UsageError, match="20 s is too short: 6 s have passed, and to try one setting") as caught:
        tune(bundle, time_limit=20)
    assert workers.begun == 1
    asked = float(caught.value.hint.split("--time-limit ")[1].split("s")[0])
    assert workers.open == 0
    workers.now = 0.0
    assert tune(bundle, time_limit=asked).seconds <= asked
