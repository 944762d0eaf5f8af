"""What every stage of a recipe is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from edgelm.anatomy import TaskModel
from edgelm.checkpoint import Record
from edgelm.compress.pruning.allotted import Allotted
from edgelm.compress.pruning.constraints import Constraints
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress


@dataclass(frozen=True)
class StageContext:
    """What every stage is given besides model and settings.

    Attributes:
        teacher: the model that compression began with; it is never changed, but knows only the tokens that `tokenizer`
            knows.
        record: of the checkpoint that goes into the stage.
        dataset: training rows.
        unlabelled: further texts that the teacher labels, or None.
        work: folder for states of an unfinished stage.
        goal: what the `fit` stages aim at.
        seconds: that a training may take; None: as long as it takes.
        allotted: the time that a cut to a budget has.
        evaluation: rows to judge by, which nothing is trained on; None: there are none.
    """

    teacher: PreTrainedModel
    tokenizer: Any
    record: Record
    dataset: Dataset
    unlabelled: Dataset | None
    work: Path
    seed: int
    progress: Progress
    goal: Constraints
    seconds: float | None = None
    allotted: Allotted = field(default_factory=Allotted)
    evaluation: Dataset | None = None

    def asked(self, model: PreTrainedModel, max_length: int) -> TaskModel:
        """A model of this stage with its tokenizer and task, and the length that the stage reads."""
        return TaskModel(model, self.tokenizer, self.record.task, max_length)


@dataclass(frozen=True)
class StageResult:
    """What a stage made.

    Attributes:
        model: the new one; the stage's own is left as it was.
        record: of the checkpoint that it is kept as.
        tokenizer: that the model reads by from here on; None: the same as before.
    """

    model: PreTrainedModel
    record: Record
    tokenizer: Any = None
