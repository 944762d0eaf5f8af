"""A model compressed within a budget: the budget becomes constraints, the recipe runs, and the result is judged."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgelm import distributed as processes
from edgelm import tracking
from edgelm.anatomy import find_checkpoint
from edgelm.budget import Budget
from edgelm.budgeting.fastest import Targets, find_fastest
from edgelm.budgeting.generators import GENERATOR_RECIPE, WriterTargets
from edgelm.budgeting.targets import Outcome, check_recipe, default_recipe, resolve_budget
from edgelm.compress.pipeline import CompressResult, compress
from edgelm.data.dataset import Dataset
from edgelm.device import Device
from edgelm.errors import UsageError
from edgelm.latency_table import LatencyTable
from edgelm.profile.block_latency import PATIENCE_S
from edgelm.progress import Progress, silent
from edgelm.recipe import Recipe, load_recipe

_TABLE = 0.35  # of a time limit, after which a latency table must be there
_ENDING = 0.05  # of a time limit, for what is made to be measured
_WAIT = 0.05  # of a time limit, for a machine to become as it was


@processes.claims_output
def compress_to_budget(
    model: str | Path,
    budget: Budget,
    *,
    dataset: Dataset,
    evaluation: Dataset,
    device: Device,
    output: str | Path,
    precision: str = "int8",
    recipe: Recipe | None = None,
    overrides: Sequence[str] = (),
    table: LatencyTable | None = None,
    unlabelled: Dataset | None = None,
    time_limit: float | None = None,
    began: float | None = None,
    overwrite: bool = False,
    allow_pickle: bool = False,
    max_length: int = 128,
    kind: str | None = None,
    context: int | None = None,
    prompt_length: int | None = None,
    progress: Progress = silent,
    run: Callable[..., CompressResult] = compress,
) -> Outcome:
    """Compress a model so that it keeps to a budget; without a bound, run the recipe as it is.

    A budget of a drop alone asks for the fastest model that keeps to it: several latencies are tried.

    Args:
        dataset: training rows; times are meant at the median length of their texts.
        evaluation: rows to judge by; never trained on.
        device: where the bundle will run.
        precision: what will be exported; bounds are meant in it.
        recipe: None: `balanced`, or one for the budget; for a model that writes `generator-one-shot`.
        overrides: changes to that default recipe, such as `recover.train.epochs=1`.
        table: latencies that were measured on the device; None: measured here for a CPU, estimated for other devices.
        unlabelled: further texts, which the original model labels.
        time_limit: in seconds, from the call on, with what is measured: trainings are shortened.
        began: when the limit began to run, by `time.monotonic()`; None: with this call.
        kind: the task that a masked language model is compressed for; None: as the folder is read.
        context: of a model that writes: tokens behind which times of one more are meant, and its cache in memory; None:
            256 (an encoder-decoder 64, with as many of a source), or what it holds if less.
        prompt_length: of a model that writes: tokens of the prompt whose first token is bounded; None: 128, likewise.
        run: what compresses; `compress`, or a trial of a search that is made in full.

    Returns:
        The closest model, with a verdict for each bound: `met` says whether all hold.

    Raises:
        UsageError: a precision that the device does not run, a recipe that cannot keep to a budget, a table of another
            model, or a bound, a context or a prompt of another kind of model.
        ModelError, DataError, RecipeError, OutputExistsError: as `compress`.
    """
    began = time.monotonic() if began is None else began
    output = Path(output)
    checkpoint = find_checkpoint(model, allow_pickle=allow_pickle, task=kind)
    default = GENERATOR_RECIPE if checkpoint.task.generates else default_recipe(budget)
    chosen = recipe or load_recipe(default, overrides=overrides)
    make = functools.partial(
        run,
        model,
        dataset=dataset,
        evaluation=evaluation,
        recipe=chosen,
        device=device,
        unlabelled=unlabelled,
        overwrite=overwrite,
        allow_pickle=allow_pickle,
        max_length=max_length,
        progress=progress,
        **({} if kind is None else {"kind": kind}),
    )

    def keep_to(resolve: Callable[[Budget], Targets]) -> Outcome:
        if budget.only_drop and recipe is None:
            rows = [rows.fingerprint() for rows in (dataset, evaluation, unlabelled) if rows is not None]
            asked = "".join([chosen.model_dump_json(), *rows])
            return find_fastest(
                budget,
                resolve,
                make,
                asked=asked,
                output=output,
                overwrite=overwrite,
                time_limit=time_limit,
                began=began,
            )
        targets = resolve(budget)
        goal = targets.goal if targets.goal.bounds else None
        check_recipe(chosen, goal)
        since = {}
        if time_limit is not None:
            measured = goal is not None and any(bound.measure is not None for bound in goal.bounds)
            since = {"began": began - measured * _ENDING * time_limit}
        return targets.outcome(make(output=output, goal=goal, time_limit=time_limit, **since))

    if checkpoint.task.generates:
        if table is not None:
            raise UsageError("--table is a latency table of an encoder; this model writes texts.", hint="Leave it out.")
        with WriterTargets(
            checkpoint,
            device=device,
            precision=precision,
            embedding_bits=chosen.embedding_bits,
            context=context,
            prompt_length=prompt_length,
            allow_pickle=allow_pickle,
            progress=progress,
        ) as writer:
            return _reported(keep_to(writer.resolve))
    if context is not None or prompt_length is not None:
        raise UsageError(
            "--context and --prompt-length are for models that write texts.",
            hint="An encoder is timed with a text of the median length of --data.",
        )
    resolve = functools.partial(
        resolve_budget,
        checkpoint=checkpoint,
        rows=dataset,
        precision=precision,
        device=device,
        table=table,
        max_length=max_length,
        embedding_bits=chosen.embedding_bits,
        table_s=None if time_limit is None else max(1.0, _TABLE * time_limit - (time.monotonic() - began)),
        patience_s=PATIENCE_S if time_limit is None else min(PATIENCE_S, _WAIT * time_limit),
        progress=progress,
    )
    return _reported(keep_to(resolve))


def _reported(outcome: Outcome) -> Outcome:
    """The outcome, once the trackers know what was made and how it stands to its budget."""
    tracking.log("result", {"parameters": outcome.result.parameters, "size_mb": outcome.result.size_mb})
    for verdict in outcome.verdicts:
        tracking.log("budget", {verdict.name: verdict.got, f"{verdict.name} asked": verdict.asked})
    return outcome
