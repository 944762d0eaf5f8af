"""The journal of a search: what Optuna was told, in an append-only file that survives being cut off anywhere."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from edgelm.choices import Sampler
from edgelm.recipe import Recipe
from edgelm.search.sampling import draw, every_point, starting_points
from edgelm.search.space import SearchSpace

SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)

_NAME = "edgelm"
_DIRECTIONS: tuple[Literal["minimize", "maximize"], ...] = (
    "maximize",
    "minimize",
    "minimize",
)  # quality, latency, size
_STARTUP = 10  # trials at random before TPE has anything to learn from
_PATIENCE = 10  # draws that were made before, in a row, until others are drawn at random
_LOOKED_AT = 10_000  # points of a space, at most


class Journal:
    """Draws trials and is told how they ended. One process at a time writes it: see `Folder.lock`."""

    def __init__(
        self, path: Path, space: SearchSpace, recipes: Mapping[str, Recipe], *, sampler: Sampler = "tpe", seed: int = 0
    ) -> None:
        self.space, self.recipes = space, recipes
        mend(path)
        with _quiet():
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
            self.study = optuna.create_study(
                study_name=_NAME, storage=storage, directions=_DIRECTIONS, load_if_exists=True
            )
            # A resumed search goes on drawing; with the first seed it would draw again what it drew before.
            seed += len(self.study.trials)
            self.random = optuna.samplers.RandomSampler(seed=seed)
            self.sampler = _make_sampler(sampler, seed)
            for point in starting_points(space, recipes):
                self.study.enqueue_trial(point, skip_if_exists=True)

    def ask(self, *, surprising: bool = False) -> tuple[int, str, tuple[str, ...]]:
        """A new trial: its number, recipe and overrides.

        Args:
            surprising: drawn at random, whatever was learnt.
        """
        with _quiet():
            self.study.sampler = self.random if surprising else self.sampler
            trial = self.study.ask()
            return trial.number, *draw(trial, self.space, self.recipes)

    def finish(self, number: int, values: Sequence[float]) -> None:
        """A trial's quality, latency (ms) and size (10^6 bytes)."""
        with _quiet():
            self.study.tell(number, list(values), skip_if_finished=True)

    def fail(self, number: int) -> None:
        """A trial gave no values."""
        with _quiet():
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def running(self) -> list[int]:
        """Trials that were drawn and have not ended, oldest first."""
        return [trial.number for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]

    def draw_new(self, known: set[str], key: Any) -> tuple[int, str, tuple[str, ...]] | None:
        """A trial that is none of those known by their keys, or None if no such trial is found any more.

        Args:
            key: of a recipe's name and overrides.
        """
        for attempt in range(2 * _PATIENCE):
            number, name, overrides = self.ask(surprising=attempt >= _PATIENCE)
            if key(name, overrides) not in known:
                return number, name, overrides
            self.fail(number)
        # Hardly anything is left, or what is left is hard to hit: look for it.
        for point, name, overrides in itertools.islice(every_point(self.space, self.recipes), _LOOKED_AT):
            if key(name, overrides) not in known:
                with _quiet():
                    self.study.enqueue_trial(point)
                return self.ask()
        return None


def mend(path: Path) -> None:
    """Remove what a process that was cut off may have left: half a line at the end, and its lock.

    Every whole line is an operation that Optuna finished writing; half a line was never reported to anyone as done.
    """
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if path.is_file():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            with path.open("r+b") as stream:
                stream.truncate(whole)


def _make_sampler(name: Sampler, seed: int) -> Any:
    """TPE for several objectives (Ozaki et al. 2022, doi:10.1613/jair.1.13188) or NSGA-II (Deb et al. 2002,
    doi:10.1109/4235.996017)."""
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=2 * _STARTUP)
    # Constant liar: trials that still run count as bad, so that parallel ones are not all drawn from one place.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP, multivariate=False, constant_liar=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's remarks off the terminal; its level is put back."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
