"""Search: trials inside a budget of time, each kept, and the front of those that nothing else beats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgelm.choices import Language
from edgelm.clock import Clock
from edgelm.data.dataset import Dataset
from edgelm.device import Device, check_precision
from edgelm.errors import EdgelmError, MissingExtraError, UsageError, install_extra
from edgelm.files.output import disk_errors
from edgelm.lengths import DEFAULT_LENGTH
from edgelm.progress import Progress, silent
from edgelm.recipe import Recipe
from edgelm.search.ahead import warn_of_fixed
from edgelm.search.explore import Explorer, SearchPlan, Stopped
from edgelm.search.folder import Folder, write_json, write_text
from edgelm.search.measure import measure, measure_beside
from edgelm.search.original import keep_original
from edgelm.search.prices import Prices
from edgelm.search.ray_workers import RayWorkers
from edgelm.search.result import SearchResult, Trial, front_csv, front_of
from edgelm.search.rows import write_rows
from edgelm.search.space import SearchSpace, load_recipes, shipped_space
from edgelm.search.tracked import track_front, track_trial
from edgelm.search.trial import Job, quality_name, single_texts
from edgelm.search.workers import LocalWorkers, Workers

Watch = Callable[[Trial], None]

_BESIDE = 20  # times what measuring a bundle takes: so long may the original in PyTorch take, whose calls are slow


def search(
    model: str | Path,
    *,
    dataset: Dataset,
    evaluation: Dataset,
    output: str | Path,
    device: Device,
    precision: str = "int8",
    space: SearchSpace | None = None,
    time_limit: float | None = None,
    began: float | None = None,
    trials: int | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    train_share: float = 1.0,
    sampler: str = "tpe",
    seed: int = 0,
    runs: int = 200,
    threads: int | None = None,
    max_length: int = DEFAULT_LENGTH,
    keep_bundles: bool = False,
    language: Language = "en",
    allow_pickle: bool = False,
    kind: str | None = None,
    prices: Prices | None = None,
    watch: Watch | None = None,
    progress: Progress = silent,
) -> SearchResult:
    """Explore recipes and their settings: compress, export, measure; keep every trial and write the Pareto front.

    The same call goes on where an earlier one ended or was cut off: finished trials stay, unfinished ones go on from
    their last finished stage or state of training.

    Args:
        space: what varies; None: the space that edgelm ships for such models and rows.
        time_limit: seconds of this call. No trial is begun that by the median length of those before would not end in
            time; what still trains when the time is up stays unfinished, and what is trained is exported and measured
            in a twentieth more. While no trial has ended, a `TimeLimitWarning` says that one will not end in time.
        began: when the time limit began to run, by `time.monotonic()`; None: with this call.
        trials: in all, those of earlier calls included.
        jobs: trials at once; None: one (on Ray: one a node).
        ray: address of a Ray cluster to run trials on.
        train_share: of the training steps of every stage, to try more settings in the time; `edgelm compress
            --from-trial` trains in full. Races keep their steps: they choose the shape, which is to be the same then.
        sampler: tpe or nsga2.
        runs: calls from which a latency is taken.
        threads: of a measured bundle; None: one a core.
        keep_bundles: keep every trial's bundle, not only what it says of itself.
        language: of front.html.
        kind: the task that a masked language model is compressed for, such as fill-mask; None: as the folder is read.
        prices: of this machine: latencies are shown as costs too, which are in proportion to them.
        watch: told of every trial that ended.

    Raises:
        UsageError: options that make no sense, or another search lies in `output`.
        SpaceError, ModelError, DataError: the input cannot be used.
        MissingExtraError: Optuna (or Ray, where it is asked for) is not installed.
        EdgelmError: no trial ended well, and some failed.
    """
    clock = Clock(time_limit, began)
    _check_options(
        time_limit=time_limit,
        trials=trials,
        jobs=jobs,
        train_share=train_share,
        sampler=sampler,
        runs=runs,
        device=device,
    )
    _require("optuna", "jinja2")
    common = _Common(model, dataset, evaluation, device, precision, max_length, allow_pickle, kind)
    space = space or shipped_space(common.checkpoint, pairs=dataset.pairs is not None)
    recipes = load_recipes(space, unused=True)
    threads = threads or _cores()
    question = common.question | {
        "space": space.model_dump(mode="json"),
        "recipes": {name: recipe.model_dump(mode="json") for name, recipe in recipes.items()},
        "train_share": train_share,
        "runs": runs,
        "threads": threads,
        "machine": _machine(),
    }
    folder = Folder(output)
    with disk_errors(folder.path), folder.lock():
        folder.claim(question, {"model": str(model), "data": dataset.source, "eval": evaluation.source})
        common.write_rows(folder)

        def report(stopped: Stopped = "time") -> SearchResult:
            start = clock.spent_s
            found = tuple(folder.read_trials())
            result = SearchResult(
                str(folder.path),
                question,
                common.metric,
                found,
                front_of(found),
                stopped,
                round(clock.spent_s, 1),
                folder.read_original(),
                prices,
            )
            _write_front(folder, result, language)
            clock.reserve_s = max(clock.reserve_s, clock.spent_s - start)  # the end will write it once more
            return result

        def ended(trial: Trial) -> None:
            track_trial(trial, report())
            if watch is not None:
                watch(trial)

        calls: dict[str, Any] = {"locks": folder.path, "threads": threads, "runs": runs, "device": device.name}
        texts = None if common.task.generates else common.texts

        def timed(bundle: Path) -> float:
            start = clock.spent_s
            latency = measure(bundle, texts, **calls)
            if clock.left_s > _BESIDE * (clock.spent_s - start):
                keep_original(
                    folder,
                    common.metric,
                    bundle.parent,
                    lambda: measure_beside(common.readable(), bundle, texts, **calls),
                )
            return latency

        plan = SearchPlan(
            recipes=recipes,
            share=train_share,
            job=lambda place, recipe: common.job(folder, place, recipe),
            measure=timed,
            trials=trials,
            keep_bundles=keep_bundles,
            watch=ended,
            progress=progress,
        )
        if time_limit is not None:
            found = report()  # what was found before, and so it is known how long that takes
            if not any(trial.state == "finished" for trial in found.trials):
                common.check_time(clock, recipes)
        stopped = _explore(folder, space, plan, clock, workers=_workers(jobs, ray), sampler=sampler, seed=seed)
        result = _judge(report(stopped))
        track_front(result)
        return result


class _Common:
    """Model and data, checked once for all trials."""

    def __init__(
        self,
        model: str | Path,
        dataset: Dataset,
        evaluation: Dataset,
        device: Device,
        precision: str,
        max_length: int,
        allow_pickle: bool,
        kind: str | None,
    ) -> None:
        from edgelm.anatomy import family_of, find_checkpoint
        from edgelm.compress.lineage import model_fingerprint
        from edgelm.export.prepare import check_task_precision

        checkpoint = find_checkpoint(model, allow_pickle=allow_pickle, task=kind)
        self.checkpoint, self.task = checkpoint, checkpoint.task
        if self.task.generates:
            check_task_precision(self.task, device, precision)
        else:
            check_precision(device, precision)
            family_of(checkpoint.family)
        self.dataset, self.evaluation = dataset.for_task(checkpoint.task), evaluation.for_task(checkpoint.task)
        self.metric = quality_name(checkpoint.task, self.evaluation)
        self.texts = single_texts(checkpoint.task, self.evaluation)
        self.question: dict[str, Any] = {
            "model": model_fingerprint(checkpoint),
            "data": self.dataset.fingerprint(),
            "eval": self.evaluation.fingerprint(),
            "device": device.model_dump(mode="json"),
            "precision": precision,
            "max_length": max_length,
        }
        if kind is not None:
            self.question["task"] = kind
        self._job = Job(
            folder="",
            rows="",
            locks="",
            model=str(checkpoint.path.resolve()),
            recipe={},
            device=self.question["device"],
            precision=precision,
            max_length=max_length,
            allow_pickle=allow_pickle,
            kind=kind,
        )

    def readable(self) -> Path:
        """The model's folder, where PyTorch runs it for the task of the search.

        Raises:
            UsageError: its folder is read for another task than the one that was asked for.
        """
        from edgelm.checkpoint import open_checkpoint

        path = Path(self._job.model)
        if open_checkpoint(path).task.kind != self.task.kind:
            raise UsageError(f"{path.name} is read for another task than {self.task.kind} in PyTorch.")
        return path

    def write_rows(self, folder: Folder) -> None:
        """Put the rows where the trials find them."""
        for name, rows in (("train", self.dataset), ("eval", self.evaluation)):
            if not (folder.rows / f"{name}.json").is_file():
                write_rows(folder.rows / f"{name}.json", rows)

    def check_time(self, clock: Clock, recipes: Mapping[str, Recipe]) -> None:
        """Warn where the limit holds no trial."""
        warn_of_fixed(self._job, self.task, self.dataset, self.evaluation, recipes.values(), clock)

    def job(self, folder: Folder, place: Path, recipe: Recipe) -> Job:
        """What a worker is to do for one trial."""
        paths = {"folder": place, "rows": folder.rows, "locks": folder.path}
        values: dict[str, Any] = {name: str(path.resolve()) for name, path in paths.items()}
        return replace(self._job, recipe=recipe.model_dump(mode="json"), **values)


def _explore(
    folder: Folder, space: SearchSpace, plan: SearchPlan, clock: Clock, *, workers: Workers, sampler: str, seed: int
) -> Stopped:
    from edgelm.search.journal import Journal

    try:
        journal = Journal(
            folder.journal, space, plan.recipes, sampler="nsga2" if sampler == "nsga2" else "tpe", seed=seed
        )
        return Explorer(folder, journal, workers, plan, clock).run()
    finally:
        workers.close()


def _workers(jobs: int | None, ray: str | None) -> Workers:
    return LocalWorkers(jobs or 1) if ray is None else RayWorkers(ray, jobs)


def _judge(result: SearchResult) -> SearchResult:
    """A search in which everything failed has found out that something is wrong."""
    failed = [trial for trial in result.trials if trial.state == "failed"]
    if failed and not result.front:
        raise EdgelmError(
            f"no trial ended well; {len(failed)} failed, the last ({failed[-1].number}) with: {failed[-1].error}",
            hint=f"See error.txt in the folders of {result.path}/trials.",
        )
    return result


def _write_front(folder: Folder, result: SearchResult, language: Language) -> None:
    from edgelm.report import render_front

    values = result.to_dict()
    write_json(folder.path / "front.json", values)
    write_text(folder.path / "front.csv", front_csv(result))
    write_text(folder.path / "front.html", render_front(values, language=language))


def _check_options(
    *,
    time_limit: float | None,
    trials: int | None,
    jobs: int | None,
    train_share: float,
    sampler: str,
    runs: int,
    device: Device,
) -> None:
    from edgelm.quantize.target import target_of

    if time_limit is None and trials is None:
        raise UsageError("a search needs an end.", hint="Give --time-limit 30m, --trials 20, or both.")
    for name, value in (("--time-limit", time_limit), ("--trials", trials), ("--jobs", jobs), ("--runs", runs)):
        if value is not None and value <= 0:
            raise UsageError(f"{name} is {value}; expected more than 0.", hint=f"Give {name} 1 or more.")
    if not 0 < train_share <= 1:
        raise UsageError(
            f"--train-share is {train_share}; expected a share in (0, 1].",
            hint="Give 0.25 to train a quarter of the steps.",
        )
    if sampler not in ("tpe", "nsga2"):
        raise UsageError(f"unknown sampler {sampler!r}.", hint="Samplers: tpe, nsga2.")
    if not target_of(device).here:
        raise UsageError(
            f"{device.name} is a {device.kind}; a search measures latency on the CPU of this machine.",
            hint="Search for a CPU: --device cpu.",
        )


def _require(*packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtraError(f"a search needs {package}, and it is not installed.", hint=install_extra("search"))


def _machine() -> str:
    from edgelm.hardware.machine import describe_machine

    return describe_machine().cpu


def _cores() -> int:
    from edgelm.runtime.session import available_cores

    return available_cores()
