"""A trial of a search, to be made in full: `edgelm compress --from-trial N --search FOLDER`."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm import distributed as processes
from edgelm.anatomy import find_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.lineage import model_fingerprint
from edgelm.compress.pipeline import CompressResult
from edgelm.compress.pipeline import compress as run_recipe
from edgelm.data.dataset import Dataset
from edgelm.device import Device
from edgelm.errors import UsageError
from edgelm.files.output import staged_output
from edgelm.files.output_kinds import CHECKPOINT
from edgelm.recipe import Recipe, load_recipe
from edgelm.search.folder import Folder
from edgelm.search.result import Trial
from edgelm.search.trial import COMPRESSED_FILE


@dataclass(frozen=True)
class ChosenTrial:
    """A trial, and what it takes to make it again.

    Attributes:
        folder: of the trial.
        model: the search's, as it was called there.
        recipe: with the trial's settings and the whole schedule of training.
        question: what the search was asked.
    """

    trial: Trial
    folder: Path
    model: str
    recipe: Recipe
    question: dict[str, Any]

    def compress(
        self,
        model: str | Path,
        *,
        dataset: Dataset,
        evaluation: Dataset,
        recipe: Recipe,
        output: str | Path,
        device: Device,
        overwrite: bool = False,
        allow_pickle: bool = False,
        max_length: int = 128,
        kind: str | None = None,
        **options: Any,
    ) -> CompressResult:
        """As `edgelm.compress`, but where the trial ran exactly this, its checkpoint is the result: nothing is trained
        twice.

        A trial that had a share of the training is run again from the original model: its schedule of learning rates
        ended early, and weights that annealed once are another starting point than the recipe means.
        """
        checkpoint = find_checkpoint(model, allow_pickle=allow_pickle, task=kind)
        task = checkpoint.task
        asked = {
            "model": model_fingerprint(checkpoint),
            "data": dataset.for_task(task).fingerprint(),
            "eval": evaluation.for_task(task).fingerprint(),
            "device": device.model_dump(mode="json"),
            "max_length": max_length,
        }
        asked |= {"task": kind} if kind else {}
        same = all(self.question.get(name) == value for name, value in asked.items()) and recipe == load_recipe(
            self.folder / "recipe.yaml"
        )
        more = any(
            value is not None for name, value in options.items() if name != "progress"
        )  # such as texts that the trial did not see
        if same and not more and (self.folder / COMPRESSED_FILE).is_file():
            return self._copy(Path(output), overwrite=overwrite)
        return run_recipe(
            model,
            dataset=dataset,
            evaluation=evaluation,
            recipe=recipe,
            output=output,
            device=device,
            overwrite=overwrite,
            allow_pickle=allow_pickle,
            max_length=max_length,
            kind=kind,
            **options,
        )

    def _copy(self, output: Path, *, overwrite: bool) -> CompressResult:
        def copy() -> None:
            with staged_output(output, overwrite=overwrite, kind=CHECKPOINT) as aside:
                shutil.copytree(self.folder / "checkpoint", aside)

        processes.on_main(copy)
        made = json.loads((self.folder / COMPRESSED_FILE).read_text(encoding="utf-8"))
        checkpoint = open_checkpoint(output)
        return CompressResult(output, checkpoint.record, made["original"], made["parameters"], checkpoint.size_mb)


def choose_trial(search: str | Path, number: int) -> ChosenTrial:
    """A trial of a search by its number.

    Raises:
        InputError: no search lies there.
        UsageError: it has no such trial; those of its front are named.
    """
    folder = Folder(search)
    question = folder.read()
    trial = folder.read_trial(number)
    if trial is None:
        from edgelm.search.result import front_of

        front = ", ".join(map(str, front_of(folder.read_trials()))) or "empty"
        raise UsageError(f"{folder.path} has no trial {number}.", hint=f"Its Pareto front: {front}.")
    place = folder.trial(number)
    return ChosenTrial(trial, place, question["sources"]["model"], load_recipe(place / "full-recipe.yaml"), question)
