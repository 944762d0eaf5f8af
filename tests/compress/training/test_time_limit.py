"""Trainings that must end in time: they take fewer steps, and anneal all the same."""

import re
import time
import warnings

import pytest
from models import TEXTS, make_checkpoint

from edgelm import compress
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.clock import TimeLimitWarning
from edgelm.compress import pipeline
from edgelm.compress.training import judging_time
from edgelm.compress.training import loop as training
from edgelm.compress.training.time_limit import Allowance, EndInTime, PaceWatch, training_seconds
from edgelm.data.dataset import Dataset
from edgelm.recipe import FitSettings, RaceSettings, Recipe, RecoverSettings
from edgelm.training_settings import TrainSettings

ROWS = Dataset(
    "memory",
    texts=TEXTS,
    labels=tuple(index % 2 for index in range(len(TEXTS))),
    label_names=("negative", "positive"),
    problem="single-label",
)


def rates_within(tmp_path, monkeypatch, seconds, time_of):
    """The learning rates of a training that planned 1,000 steps, by a clock that tells the time after so many."""
    folder = make_checkpoint(tmp_path / "m")
    rates = []

    class Watch(EndInTime):
        def __init__(self, _):
            super().__init__(seconds, clock=lambda: time_of(len(rates)))

        def on_step_end(self, args, state, control, lr_scheduler=None, **kwargs):
            rates.append(lr_scheduler.get_last_lr()[0])
            super().on_step_end(args, state, control, lr_scheduler=lr_scheduler, **kwargs)

    monkeypatch.setattr(training, "EndInTime", Watch)
    settings = TrainSettings(max_steps=1000, batch_size=2, learning_rate=1e-4, warmup=0.1)
    training.train(
        TaskModel(load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task),
        ROWS,
        settings,
        work=tmp_path / "w",
        seed=0,
        seconds=seconds,
    )
    return rates


def test_a_training_is_shortened_once_its_pace_is_known(tmp_path, monkeypatch):
    """Ten steps a second: ten seconds are 100 steps."""
    rates = rates_within(tmp_path, monkeypatch, 10.0, lambda steps: steps / 10)
    assert 98 <= len(rates) <= 101
    assert rates[-1] < 0.03 * max(rates)  # annealed
    assert max(rates) <= 1e-4


def test_a_training_that_gets_slower_is_shortened_again(tmp_path, monkeypatch):
    """Ten steps a second, from the fortieth on five: of ten seconds six are left for 30 steps."""
    rates = rates_within(tmp_path, monkeypatch, 10.0, lambda steps: max(steps / 10, (steps - 20) / 5))
    assert len(rates) <= 75  # the pace is that of all steps; by the last looks it is nearly that of the slow ones
    assert rates[-1] < 0.05 * max(rates)


def test_steps_that_take_long_end_before_twenty_of_them(tmp_path, monkeypatch):
    assert len(rates_within(tmp_path, monkeypatch, 10.0, lambda steps: 2.0 * steps)) <= 6


def test_a_limit_that_is_too_short_is_told_at_once():
    stages = [RecoverSettings(train=TrainSettings(epochs=1))] * 2
    with pytest.warns(TimeLimitWarning, match=r"cannot be kept.*--time-limit \d+s"):
        Allowance(10.0, time.monotonic()).check(stages, judging=20.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Allowance(100.0, time.monotonic()).check(stages, judging=20.0)
        Allowance(None, time.monotonic()).check(stages, judging=20.0)


def paced(step_s, total, *, limit, description="prune"):
    """What is warned of while a step makes so many units, each in so many seconds."""
    now = [0.0]
    allowed = Allowance(limit, time.monotonic())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        watch = PaceWatch(lambda *_: None, allowed, clock=lambda: now[0])
        for done in range(total + 1):
            now[0] = done * step_s
            watch(description, done, total)
    return [str(each.message) for each in told]


def test_a_step_that_takes_longer_than_what_is_left_is_told_once():
    (said,) = paced(10.0, 12, limit=60.0)
    assert "a time limit of 60 s cannot be kept: prune alone needs 90 s more, and 60 s are left" in said
    assert "--time-limit 135s or more" in said
    assert paced(10.0, 12, limit=None) == []
    assert paced(2.0, 12, limit=60.0) == []
    assert len(paced(1.0, 1000, limit=60.0)) == 1
    assert paced(1.0, 1000, limit=60.0, description="search") == []  # which ends with the best so far


def test_a_training_has_the_time_to_find_its_pace():
    """It is planned with 1,000 steps of a second, and shortened after twenty to those that fit."""
    now, said = [0.0], []
    watch = PaceWatch(lambda *words: said.append(words), Allowance(100.0, time.monotonic()), clock=lambda: now[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for done in range(1, 101):
            now[0] = float(done)
            watch("recover", done, 1000 if done <= 21 else 100)
    assert len(said) == 100


def test_what_was_measured_before_and_judging_count():
    stages = [RecoverSettings(train=TrainSettings(epochs=1))]
    allowed = Allowance(100.0, time.monotonic() - 50)
    assert allowed.training_seconds(stages, judging=10.0) == pytest.approx(0.85 * 40, abs=1)
    assert Allowance(None, 0.0).training_seconds(stages, judging=10.0) is None


def test_time_goes_to_trainings_by_their_epochs():
    short, long = RecoverSettings(train=TrainSettings(epochs=1)), RecoverSettings(train=TrainSettings(epochs=3))
    assert training_seconds(100.0, [short, FitSettings(), long]) == pytest.approx(0.85 * 25)
    assert training_seconds(100.0, [long]) == pytest.approx(85)
    assert training_seconds(100.0, [FitSettings(), long]) is None
    by_steps = RecoverSettings(train=TrainSettings(max_steps=100))
    assert training_seconds(100.0, [FitSettings(race=RaceSettings()), by_steps]) == pytest.approx(85 * 0.25 / 1.25)


def test_a_limit_that_is_long_changes_nothing(tmp_path):
    folder = make_checkpoint(tmp_path / "m")
    recipe = Recipe(name="test", stages=(RecoverSettings(train=TrainSettings(max_steps=24, batch_size=2)),))
    first = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "a")
    second = compress(folder, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "b", time_limit=3600.0)
    for one, other in zip(
        load_checkpoint(first.path).parameters(), load_checkpoint(second.path).parameters(), strict=True
    ):
        assert one.equal(other)


def test_what_is_fixed_is_told_before_the_original_is_judged(tmp_path, monkeypatch):
    """A few rows tell how long judging takes: the original alone would take longer than the limit."""
    folder = make_checkpoint(tmp_path / "m")
    many = Dataset("memory", TEXTS * 10, labels=ROWS.labels * 10, label_names=ROWS.label_names, problem=ROWS.problem)
    read, predict = [], judging_time.predict

    def slowly(model, rows):
        read.append(len(rows))
        time.sleep(0.05 * len(rows))
        return predict(model, rows)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(judging_time, "predict", slowly)
    monkeypatch.setattr(pipeline, "evaluate", stop)
    recipe = Recipe(name="test", stages=(RecoverSettings(train=TrainSettings(max_steps=24, batch_size=2)),))
    expected = 0.05 * len(many) * 2  # of the original, and of what the stage leaves
    with pytest.warns(TimeLimitWarning) as told, pytest.raises(KeyboardInterrupt):
        compress(folder, dataset=ROWS, evaluation=many, recipe=recipe, output=tmp_path / "a", time_limit=expected / 2)
    (said,) = (str(each.message) for each in told if issubclass(each.category, TimeLimitWarning))
    assert sum(read) < 20
    found = re.search(r"the original and what the stage leaves takes about (\d+) s alone.*--time-limit (\d+)s", said)
    assert float(found[1]) == pytest.approx(expected, rel=0.5)  # the model itself takes some of it
    assert float(found[2]) > expected
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt):
            compress(folder, dataset=ROWS, evaluation=many, recipe=recipe, output=tmp_path / "b", time_limit=3600.0)
