"""The loop of a search: draw, run, measure, tell; until the time, the number of trials or the space is used up."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from edgelm.clock import Clock
from edgelm.errors import EdgelmError, ResourceError
from edgelm.progress import Progress, during
from edgelm.recipe import Recipe, override
from edgelm.search.folder import Folder, write_text
from edgelm.search.result import Trial
from edgelm.search.steps import forget_step
from edgelm.search.trial import ERROR_FILE, Job, recipe_text, shorten
from edgelm.search.watch import TrialWatch
from edgelm.search.workers import Workers

Stopped = Literal["time", "trials", "exhausted", "failing"]

_LOOK_S = 0.5  # seconds between two looks at the clock
_HOPELESS = 5  # trials that fail before any has ended well
_GRACE = 0.05  # of the time limit, after it: for what is trained to be exported and measured


class Draws(Protocol):
    """The part of `Journal` that the loop uses."""

    def draw_new(
        self, known: set[str], key: Callable[[str, tuple[str, ...]], str]
    ) -> tuple[int, str, tuple[str, ...]] | None: ...
    def running(self) -> list[int]: ...
    def finish(self, number: int, values: tuple[float, float, float]) -> None: ...
    def fail(self, number: int) -> None: ...


@dataclass(frozen=True)
class SearchPlan:
    """What all trials have in common.

    Attributes:
        recipes: those of the space, by the names that it calls them.
        share: of the training steps.
        job: of a trial, given its folder and the recipe to run.
        measure: p50 of a bundle (ms).
        trials: how many the search shall have in all; None: as many as there is time for.
        keep_bundles: otherwise a bundle is removed once it is measured.
        watch: told of every trial that ended.
    """

    recipes: Mapping[str, Recipe]
    share: float
    job: Callable[[Path, Recipe], Job]
    measure: Callable[[Path], float]
    trials: int | None
    keep_bundles: bool
    watch: Callable[[Trial], None]
    progress: Progress


@dataclass(frozen=True)
class _Running:
    trial: Trial
    job: Job
    start: float


class Explorer:
    """One call's exploration. `run` returns why it stopped; everything found lies in the folder."""

    def __init__(self, folder: Folder, journal: Draws, workers: Workers, plan: SearchPlan, clock: Clock) -> None:
        self.folder, self.journal, self.workers, self.plan, self.clock = folder, journal, workers, plan, clock
        self.ended = {trial.number: trial for trial in folder.read_trials() if trial.state != "unfinished"}
        self.running: dict[Future[dict[str, Any]], _Running] = {}
        self.waiting = deque(self._left_over())
        self.least_s = clock.spent_s  # a trial imports and reads what was imported and read here
        self.measuring_s: list[float] = []
        self.trials = TrialWatch(plan.progress, clock)
        self.known = {self._key(trial.recipe, trial.overrides) for trial in (*self.ended.values(), *self.waiting)}

    def run(self) -> Stopped:
        """Explore.

        Raises:
            ResourceError: the disk is full; the trial stays unfinished.
        """
        stopped: Stopped | None = None
        while True:
            while stopped is None and len(self.running) < self.workers.count:
                stopped = self._begin_next()
            if not self.running:
                return stopped or "time"
            done, _ = wait(self.running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for future in done:
                self._end(self.running.pop(future), future)
            if self.clock.over:
                stopped = "time"
                self._stop_running()
            self._report()

    def _left_over(self) -> list[Trial]:
        """Trials that an earlier call began and did not end, in the order of their beginning; the journal is brought up
        to date.

        A trial's own file is written before the journal is told: what is finished there is finished.
        """
        left = []
        for number in self.journal.running():
            trial = self.folder.read_trial(number)
            if trial is None:  # cut off between drawing it and beginning it
                self.journal.fail(number)
            elif trial.state == "unfinished":
                left.append(trial)
            else:
                self._tell(trial)
        return left

    def _begin_next(self) -> Stopped | None:
        """Begin a trial: one left over, else a new one. Returns why none is begun."""
        if self.clock.left_s <= self.least_s:
            return "time"
        if self.waiting:  # it may be cut off again without a loss, so there is always room for it
            self._begin(self.waiting.popleft())
            return None
        finished = [trial.seconds for trial in self.ended.values() if trial.state == "finished"]
        if not finished and len(self.ended) >= _HOPELESS:
            return "failing"
        if self.plan.trials is not None and len(self.ended) + len(self.running) >= self.plan.trials:
            return "trials"
        if not self.clock.has_room(finished):
            return "time"
        drawn = self.journal.draw_new(self.known, self._key)
        if drawn is None:
            return "exhausted"
        self._begin(Trial(*drawn))
        return None

    def _begin(self, trial: Trial) -> None:
        whole = override(self.plan.recipes[trial.recipe], trial.overrides)
        recipe = shorten(whole, self.plan.share)
        folder = self.folder.trial(trial.number)
        write_text(folder / "full-recipe.yaml", recipe_text(whole))
        write_text(folder / "recipe.yaml", recipe_text(recipe))
        self.folder.write_trial(trial)
        forget_step(folder)
        self.known.add(self._key(trial.recipe, trial.overrides))
        job = self.plan.job(folder, recipe)
        self.running[self.workers.submit(trial.number, job)] = _Running(trial, job, time.monotonic())

    def _end(self, run: _Running, future: Future[dict[str, Any]]) -> None:
        """Measure what was made, and write down how the trial ended; where there is no time to measure it, it stays
        unfinished."""
        folder = self.folder.trial(run.trial.number)
        self.trials.hide(run.trial.number)
        try:
            made = future.result()
        except Exception as error:  # whatever a cluster throws: the node died, the task was lost
            made = {"error": f"{type(error).__name__}: {str(error).strip()[:500]}", "class": "EdgelmError"}
        trial = run.trial
        if "error" not in made:
            if self._grace_s < max(self.measuring_s, default=self.least_s):  # measuring starts processes of its own
                return
            start = self.clock.spent_s
            try:
                with during(self.plan.progress, f"trial {trial.number}: measure"):
                    latency_ms = self.plan.measure(folder / "bundle")
                trial = replace(trial, state="finished", latency_ms=latency_ms, **made)
                self.measuring_s.append(self.clock.spent_s - start)
            except EdgelmError as error:
                made = {"error": error.message, "hint": error.hint, "class": type(error).__name__}
        if made.get("class") == ResourceError.__name__:
            raise ResourceError(f"trial {trial.number}: {made['error']}", hint=made.get("hint", ""))
        if "error" in made:
            trial = replace(trial, state="failed", error=made["error"])
            with (folder / ERROR_FILE).open("a", encoding="utf-8") as stream:
                stream.write(made["error"] + "\n")
        trial = replace(trial, seconds=round(time.monotonic() - run.start, 2))
        self.folder.write_trial(trial)
        self._tell(trial)
        if not self.plan.keep_bundles:
            shutil.rmtree(folder / "bundle", ignore_errors=True)
        self.ended[trial.number] = trial
        self.plan.watch(trial)

    def _tell(self, trial: Trial) -> None:
        if trial.values is None:
            self.journal.fail(trial.number)
        else:
            self.journal.finish(trial.number, trial.values)

    @property
    def _grace_s(self) -> float:
        """Seconds that are left for what is trained."""
        return self.clock.left_s + _GRACE * (self.clock.limit_s or 0.0)

    def _stop_running(self) -> None:
        """Stop trials that still train: they stay unfinished, with every finished stage and the last state of training.

        A trial whose checkpoint is made is left to be exported and measured, but not for long: the same search goes on
        with it too.
        """
        for future, run in list(self.running.items()):
            if not future.done() and (self._grace_s <= 0 or not run.job.compressed):
                del self.running[future]
                self.trials.hide(run.trial.number)
                self.workers.cancel(run.trial.number)

    def _report(self) -> None:
        """Where the search and its trials are."""
        if self.clock.limit_s is not None:
            self.plan.progress(
                "search (seconds)",
                min(round(self.clock.spent_s), round(self.clock.limit_s) - 1),
                round(self.clock.limit_s),
            )
        elif self.plan.trials is not None:
            self.plan.progress("search (trials)", len(self.ended), self.plan.trials)
        first = not any(trial.state == "finished" for trial in self.ended.values())
        for run in self.running.values():
            self.trials.look(run.trial.number, self.folder.trial(run.trial.number), first=first)

    def _key(self, name: str, overrides: tuple[str, ...]) -> str:
        """Equal for two trials that would run the same stages."""
        return override(self.plan.recipes[name], overrides).model_dump_json(exclude={"name", "title"})
