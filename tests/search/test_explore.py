"""The loop of a search, with workers that only pretend: what is begun, what is kept, what is gone on with."""

import json
import os
import re
import subprocess
import sys
import time
import warnings
from concurrent.futures import Future
from dataclasses import replace

import pytest

from edgelm.clock import Clock, TimeLimitWarning
from edgelm.errors import InputError, ResourceError, UsageError
from edgelm.progress import silent
from edgelm.recipe import load_recipe
from edgelm.search.explore import Explorer, SearchPlan
from edgelm.search.folder import Folder
from edgelm.search.journal import Journal
from edgelm.search.space import SearchSpace, load_recipes
from edgelm.search.steps import STEP_FILE, Step, StepNotes, read_step
from edgelm.search.trial import COMPRESSED_FILE, Job, shorten

SPACE = SearchSpace.model_validate(
    {"name": "s", "recipes": ["balanced"], "settings": {"prune.keep_ffn": [0.25, 0.5, 0.75, 1.0], "seed": [0, 1]}}
)
JOB = Job("", "", "", "", {}, {}, "fp32", 128, False)


class Pretended:
    """Workers that answer at once, by a function of number and job; None: not before they are cancelled."""

    def __init__(self, answer, count=1):
        self.answer, self.count = answer, count
        self.begun: list[int] = []
        self.cancelled: list[int] = []

    def submit(self, number, job):
        self.begun.append(number)
        future: Future = Future()
        made = self.answer(number, job)
        if made is not None:
            future.set_result(made)
        return future

    def cancel(self, number):
        self.cancelled.append(number)

    def close(self):
        pass


def good(number, job):
    return {
        "quality": 0.9 - number / 100,
        "metrics": {"accuracy": 0.9 - number / 100},
        "parameters": 10,
        "size_mb": 1.0 + number,
    }


def explore(
    path, workers, *, trials=None, limit=None, space=SPACE, measure=lambda bundle: 1.0, seed=0, progress=silent
):
    folder = Folder(path)
    path.mkdir(exist_ok=True)
    recipes = load_recipes(space)
    plan = SearchPlan(
        recipes=recipes,
        share=1.0,
        job=lambda place, recipe: replace(JOB, folder=str(place), recipe=recipe.model_dump(mode="json")),
        measure=measure,
        trials=trials,
        keep_bundles=False,
        watch=lambda trial: None,
        progress=progress,
    )
    journal = Journal(folder.journal, space, recipes, seed=seed)
    stopped = Explorer(folder, journal, workers, plan, Clock(limit)).run()
    return stopped, folder.read_trials()


def values(trials):
    return {trial.number: (trial.state, trial.overrides, trial.values) for trial in trials}


def test_the_recipe_as_it_is_comes_first_and_nothing_comes_twice(tmp_path):
    stopped, trials = explore(tmp_path, Pretended(good))
    assert stopped == "exhausted"
    assert len(trials) == 8  # four shares, two seeds
    assert len({trial.overrides for trial in trials}) == 8
    assert trials[0].overrides == (
        "prune.keep_ffn=0.5",
        "seed=0",
    )  # 0.4 is none of the choices, so the first is drawn there


def test_a_failed_trial_keeps_its_error_and_ends_nothing(tmp_path):
    def answer(number, job):
        return {"error": "too few layers", "hint": "", "class": "RecipeError"} if number == 1 else good(number, job)

    stopped, trials = explore(tmp_path, Pretended(answer), trials=4)
    assert stopped == "trials"
    assert [trial.state for trial in trials] == ["finished", "failed", "finished", "finished"]
    assert trials[1].error == "too few layers"
    assert "too few layers" in (tmp_path / "trials" / "1" / "error.txt").read_text()


def test_a_measurement_that_fails_is_a_trial_that_failed(tmp_path):
    def measure(bundle):
        raise InputError("the process that ran it ended")

    stopped, trials = explore(tmp_path, Pretended(good), measure=measure, trials=3)
    assert stopped == "trials"
    assert {trial.state for trial in trials} == {"failed"}


def test_a_search_in_which_everything_fails_stops_early(tmp_path):
    stopped, trials = explore(
        tmp_path, Pretended(lambda number, job: {"error": "x", "hint": "", "class": "ModelError"})
    )
    assert stopped == "failing"
    assert len(trials) == 5


def test_a_lost_node_of_a_cluster_is_a_failed_trial(tmp_path):
    class Lost(Pretended):
        def submit(self, number, job):
            future: Future = Future()
            future.set_exception(ConnectionError("the node died"))
            return future

    _, trials = explore(tmp_path, Lost(good), trials=1)
    assert trials[0].state == "failed"
    assert "the node died" in trials[0].error


def test_a_full_disk_ends_the_search_and_leaves_the_trial_to_be_gone_on_with(tmp_path):
    full = Pretended(lambda number, job: {"error": "no space left", "hint": "Free some.", "class": "ResourceError"})
    with pytest.raises(ResourceError, match="no space left"):
        explore(tmp_path, full)
    stopped, trials = explore(tmp_path, Pretended(good), trials=1)
    assert stopped == "trials"
    assert [(trial.number, trial.state) for trial in trials] == [(0, "finished")]


def test_more_trials_go_on_from_those_that_are_there(tmp_path):
    _, before = explore(tmp_path, Pretended(good), trials=3)
    workers = Pretended(good)
    _, after = explore(tmp_path, workers, trials=6)
    assert values(before).items() <= values(after).items()
    assert len(after) == 6
    assert not set(workers.begun) & {trial.number for trial in before}
    assert len({trial.overrides for trial in after}) == 6


def test_what_was_cut_off_is_gone_on_with_under_its_number(tmp_path):
    """As after SIGKILL: one trial is unfinished, one was drawn only, one was finished and the journal was not told; its
    line is torn."""
    explore(tmp_path, Pretended(good), trials=2)
    recipes = load_recipes(SPACE)
    folder = Folder(tmp_path)
    _, (first, *_) = explore(
        tmp_path, Pretended(lambda number, job: None, count=1), limit=0.2
    )  # begins nothing new but one, and is stopped
    unfinished = [trial for trial in folder.read_trials() if trial.state == "unfinished"]
    assert len(unfinished) == 1
    journal = Journal(folder.journal, SPACE, recipes, seed=99)
    known = {first.overrides, *(trial.overrides for trial in folder.read_trials())}
    number, _, overrides = journal.draw_new(known, lambda name, overrides: overrides)
    told_nobody = replace(
        unfinished[0], number=number, overrides=overrides, state="finished", quality=0.7, latency_ms=2.0, size_mb=3.0
    )
    folder.write_trial(told_nobody)
    drawn_only = journal.ask()[0]
    with folder.journal.open("ab") as stream:
        stream.write(b'{"op_code": 6, "worker_id')
    (tmp_path / "journal.log.lock").touch()
    before = {trial.number: trial for trial in folder.read_trials() if trial.state == "finished"}
    workers = Pretended(good)
    start = time.monotonic()
    _, trials = explore(tmp_path, workers, trials=len(before) + 2)
    assert time.monotonic() - start < 120  # nobody waits for ever for a lock whose owner has died
    after = {trial.number: trial for trial in trials}
    assert workers.begun[0] == unfinished[0].number
    assert after[unfinished[0].number].overrides == unfinished[0].overrides
    assert before.items() <= after.items()
    assert drawn_only not in after
    study = Journal(folder.journal, SPACE, recipes).study
    assert study.trials[number].values == [0.7, 2.0, 3.0]
    assert study.trials[drawn_only].state.name == "FAIL"


def test_no_trial_is_begun_that_would_not_end_in_time(tmp_path):
    def slowly(bundle):
        time.sleep(0.4)
        return 1.0

    stopped, trials = explore(tmp_path, Pretended(good), measure=slowly, limit=1.5)
    assert stopped == "time"
    assert 1 <= len(trials) <= 3
    assert {trial.state for trial in trials} == {"finished"}


class Turned:
    """A clock that goes on by half a second each time the search looks, and what happens at which time."""

    def __init__(self, monkeypatch, events=()):
        self.now, self.events = 0.0, sorted(events, key=lambda event: event[0])
        monkeypatch.setattr("edgelm.clock.monotonic", lambda: self.now)
        monkeypatch.setattr("edgelm.search.explore.wait", self.wait)

    def wait(self, futures, timeout, return_when):
        self.now += timeout
        while self.events and self.events[0][0] <= self.now:
            self.events.pop(0)[1]()
        return {future for future in futures if future.done()}, set()

    def takes(self, seconds):
        """A measurement that takes so long."""

        def measure(bundle):
            self.now += seconds
            return 1.0

        return measure


class Later(Pretended):
    """Workers that answer when they are told to."""

    def __init__(self, count):
        super().__init__(lambda number, job: None, count=count)
        self.futures = {}

    def submit(self, number, job):
        self.futures[number] = super().submit(number, job)
        return self.futures[number]

    def train(self, folder):
        return lambda: (folder / COMPRESSED_FILE).write_text("{}")

    def end(self, number):
        return lambda: self.futures[number].set_result(good(number, None))


def test_at_the_limit_training_stops_and_what_is_trained_is_measured(tmp_path, monkeypatch):
    workers = Later(count=2)
    Turned(monkeypatch, [(50, workers.train(tmp_path / "trials" / "1")), (64, workers.end(1))])
    stopped, trials = explore(tmp_path, workers, limit=62)
    assert stopped == "time"
    assert workers.cancelled == [0]
    assert [trial.state for trial in trials] == ["unfinished", "finished"]


def test_what_is_trained_and_not_exported_in_time_is_left_for_the_next_call(tmp_path, monkeypatch):
    workers = Later(count=1)
    clock = Turned(monkeypatch, [(50, workers.train(tmp_path / "trials" / "0"))])
    stopped, trials = explore(tmp_path, workers, limit=60)
    assert stopped == "time"
    assert workers.cancelled == [0]
    assert 60 < clock.now <= 63.5
    assert [trial.state for trial in trials] == ["unfinished"]
    _, trials = explore(tmp_path, Pretended(good), trials=1)
    assert [trial.state for trial in trials] == ["finished"]


def test_nothing_is_measured_that_takes_longer_than_what_is_left(tmp_path, monkeypatch):
    workers = Later(count=2)
    clock = Turned(monkeypatch, [(30, workers.end(0)), (58, workers.end(1))])
    _, trials = explore(tmp_path, workers, limit=60, measure=clock.takes(8.0))
    assert clock.now <= 66
    assert {trial.number: trial.state for trial in trials if trial.number < 2} == {0: "finished", 1: "unfinished"}


def test_a_first_measurement_is_left_for_the_next_call_where_its_processes_would_start_too_late(tmp_path, monkeypatch):
    """Nobody knows yet how long measuring takes, but getting ready took six seconds."""
    workers = Later(count=1)
    clock = Turned(monkeypatch, [(58, workers.end(0))])
    make = Clock

    def late(limit):
        made = make(limit)
        clock.now += 6.0
        return made

    monkeypatch.setattr(f"{__name__}.Clock", late)
    _, trials = explore(tmp_path, workers, limit=60, measure=clock.takes(8.0))
    assert clock.now <= 63
    assert [trial.state for trial in trials] == ["unfinished"]


def test_no_trial_is_begun_where_getting_ready_took_as_long_as_is_left(tmp_path, monkeypatch):
    clock, workers = Turned(monkeypatch), Pretended(good)
    make = Clock

    def late(limit):
        made = make(limit)
        clock.now += 6.0
        return made

    monkeypatch.setattr(f"{__name__}.Clock", late)
    assert explore(tmp_path, workers, limit=10) == ("time", [])
    assert workers.begun == []


def test_a_first_trial_that_will_not_end_in_time_is_told_early_and_once(tmp_path, monkeypatch):
    clock, workers = Turned(monkeypatch), Later(count=1)
    shown = []

    def note(done):
        def write():
            path = tmp_path / "trials" / "0" / STEP_FILE
            path.write_text(json.dumps({"name": "recover", "done": done, "total": 1000, "begun": 0, "seconds": done}))

        return write

    clock.events = [(float(second), note(second)) for second in range(1, 100)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        explore(tmp_path, workers, limit=100, progress=lambda *words: shown.append((clock.now, *words)))
    (warning,) = [each for each in told if issubclass(each.category, TimeLimitWarning)]
    assert re.search(
        r"trial 0 will not end within 100 s: recover alone needs 980 s more, and 80 s are left.*--time-limit 1000s",
        str(warning.message),
    )
    assert ("trial 0: recover", 20, 1000) in [words[1:] for words in shown]
    assert ("trial 0: recover", 1000, 1000) in [words[1:] for words in shown]  # taken away in the end


def test_a_worker_notes_where_its_trial_is(tmp_path):
    now, passed = [0.0], []
    notes = StepNotes(tmp_path, lambda *words: passed.append(words), clock=lambda: now[0])
    assert read_step(tmp_path) is None
    for done in range(31):
        now[0] = 100 + done / 4
        notes("recover", done, 100)
    assert read_step(tmp_path) == Step("recover", 28, 100, 0, 7.0)
    assert read_step(tmp_path).left_s == pytest.approx(18.0)
    assert len(passed) == 31
    now[0] = 120.0
    notes("recover", 1, 100)  # the next training
    assert read_step(tmp_path) == Step("recover", 1, 100, 1, 0.0)
    assert read_step(tmp_path).left_s is None


@pytest.mark.parametrize(
    ("limit", "spent", "lengths", "room"),
    [
        (None, 99, [1e9], True),
        (10, 0, [], True),
        (10, 5, [1, 4, 100], True),
        (10, 7, [1, 4], True),
        (10, 7, [4], False),
        (10, 11, [], False),
    ],
)
def test_there_is_room_for_a_trial_by_the_median_of_those_before(limit, spent, lengths, room):
    clock = Clock(limit)
    clock.start -= spent
    assert clock.has_room(lengths) is room


def test_a_share_of_the_training_is_a_share_of_every_stage():
    recipe = load_recipe("fastest", overrides=["recover.train.max_steps=100"])
    short = shorten(recipe, 0.25)
    assert [stage.train.epochs for stage in short.stages if hasattr(stage, "train")] == [0.5, 0.5]
    assert short.stages[-1].train.max_steps == 25
    assert shorten(recipe, 1.0) == recipe
    assert shorten(recipe, 1e-6).stages[-1].train.max_steps == 1


def test_another_search_in_the_same_folder_is_refused_by_what_differs(tmp_path):
    folder = Folder(tmp_path / "s")
    question = {"model": "a", "train_share": 1.0, "space": {"recipes": ("balanced",)}}
    sources = {"model": "m", "data": "d", "eval": "e"}
    folder.claim(question, sources)
    folder.claim(question, sources)
    with pytest.raises(UsageError, match="differs in: model, train share"):
        folder.claim(question | {"model": "b", "train_share": 0.5}, sources)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(UsageError, match="holds no search"):
        Folder(tmp_path / "other").claim(question, sources)


def test_two_processes_do_not_lead_one_search(tmp_path):
    lead = "import sys; from edgelm.search.folder import Folder; Folder(sys.argv[1]).lock().__enter__()"
    with Folder(tmp_path / "search").lock():
        done = subprocess.run([sys.executable, "-c", lead, tmp_path / "search"], capture_output=True, text=True)
    assert "OutputInUseError: another process works on" in done.stderr
    assert str(os.getpid()) in done.stderr


def test_trials_without_their_journal_are_not_written_over(tmp_path):
    folder = Folder(tmp_path)
    folder.claim({"model": "a"}, {})
    explore(tmp_path, Pretended(good), trials=1)
    folder.journal.unlink()
    with pytest.raises(InputError, match="journal"):
        folder.claim({"model": "a"}, {})
    assert json.loads((tmp_path / "trials" / "0" / "trial.json").read_text())["state"] == "finished"
