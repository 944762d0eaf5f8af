"""Trainings that must end in time: they take fewer steps, and anneal all the same."""

import pytest
from models import TEXTS, make_checkpoint

from edgelm import compress
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.training import loop as training
from edgelm.compress.training.time_limit import EndInTime, training_seconds
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


class Clock:
    """A second passes at every look."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_a_training_is_shortened_once_its_pace_is_known(tmp_path, monkeypatch):
    """The clock is looked at three times in the first twenty steps: fifteen steps take one second, so ten seconds are
    some 120 steps."""
    folder = make_checkpoint(tmp_path / "m")
    rates = []

    class Watch(EndInTime):
        def __init__(self, seconds):
            super().__init__(seconds, clock=Clock())

        def on_step_end(self, args, state, control, lr_scheduler=None, **kwargs):
            super().on_step_end(args, state, control, lr_scheduler=lr_scheduler, **kwargs)
            rates.append(lr_scheduler.get_last_lr()[0])

    monkeypatch.setattr(training, "EndInTime", Watch)
    settings = TrainSettings(max_steps=1000, batch_size=2, learning_rate=1e-4, warmup=0.1)
    training.train(
        TaskModel(load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task),
        ROWS,
        settings,
        work=tmp_path / "w",
        seed=0,
        seconds=10.0,
    )
    assert 20 + 15 * 7 <= len(rates) <= 20 + 15 * 8  # what it took to encode the rows is off
    assert rates[-1] < 0.02 * max(rates)  # annealed
    assert max(rates) <= 1e-4


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
