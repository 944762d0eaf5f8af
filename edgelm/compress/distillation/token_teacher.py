"""What a teacher of a model that writes says to a batch: live, or from its likeliest tokens that are kept on disk."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from edgelm import distributed as processes
from edgelm.anatomy import TaskModel
from edgelm.anatomy.token_head import Stack, TokenHead, token_head
from edgelm.compress.batches import EncodedDataset
from edgelm.compress.distillation.chunked_rows import CHUNK
from edgelm.compress.distillation.divergence import Divergence
from edgelm.compress.distillation.pace import Pace
from edgelm.compress.distillation.top_logits import TopLogits, TopLogitsFile
from edgelm.progress import Progress, silent

_BATCH = 16
_DISK = 0.5  # of what is free may be filled


@dataclass(frozen=True)
class Lesson:
    """What a student is to write at the rows that count, and the teacher's hidden states.

    Attributes:
        divergence: how far apart distributions are.
        kept: the teacher's likeliest tokens; None: `states` go through `head`, some rows at a time.
        states, head: what the teacher's head reads, (rows, hidden).
        stacks: the teacher's hidden states, where they were asked for.
    """

    divergence: Divergence
    kept: TopLogits | None = None
    states: torch.Tensor | None = None
    head: TokenHead | None = None
    stacks: tuple[Stack, ...] = ()

    def losses(self, logits: torch.Tensor, rows: slice) -> torch.Tensor:
        """The divergence of a student's logits (rows, vocabulary) of these rows, (rows,)."""
        own = self.divergence.soften(logits)
        if self.kept is not None:
            top = self.kept.part(rows)
            return self.divergence.between(top.same_events(own), top.events())
        assert self.states is not None
        assert self.head is not None
        with torch.no_grad():
            wanted = self.divergence.soften(self.head(self.states[rows]))
        return self.divergence.between(own, wanted)


class TokenTeacher:
    """A teacher of a model that writes.

    Args:
        folder: for what is kept of it.
        top_k: how many logits of a row are kept.
        hidden_states: whether lessons have them; then the teacher is asked for every batch, and nothing is kept.
    """

    def __init__(
        self, teacher: TaskModel, divergence: Divergence, *, folder: Path, top_k: int, hidden_states: bool = False
    ) -> None:
        teacher.model.eval().requires_grad_(False)
        self.teacher = teacher
        self._divergence = divergence
        self._folder, self._top_k = folder, top_k
        self._hidden_states = hidden_states
        self._kept: TopLogitsFile | None = None
        self._starts = torch.empty(0)
        self._counts = torch.empty(0)

    def prepare(
        self,
        rows: EncodedDataset,
        *,
        passes: float,
        half: bool,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> None:
        """Keep the likeliest tokens of all rows, if they are read at least twice, by one process, and disk and time are
        there; else nothing. What an interrupted call has kept is not asked again.

        Args:
            rows: numbered, as the batches will be.
            passes: how often the student reads them.
            half: whether the teacher computes in bfloat16.
            seconds: that the whole training may take.
        """
        if self._kept is not None or passes < 2 or self._hidden_states or processes.count() > 1:
            return
        self._counts = torch.tensor([sum(counted) for counted in rows.encoded.counted])
        self._starts = self._counts.cumsum(0) - self._counts
        total, vocabulary = int(self._counts.sum()), token_head(self.teacher.model).vocabulary
        self._folder.mkdir(parents=True, exist_ok=True)
        needed = TopLogitsFile.nbytes(total, self._top_k, vocabulary)
        if needed > _DISK * shutil.disk_usage(self._folder).free:
            return
        kept = TopLogitsFile(self._folder / "teacher", rows=total, count=self._top_k, vocabulary=vocabulary)
        pace, first, written = Pace(total, seconds), kept.done, 0
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for number, part in enumerate(rows.by_length(_BATCH)):
            if number < first:
                continue
            batch = {name: tensor.to(device) for name, tensor in part.tensors.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                lesson = self._ask(batch)
                places = self._places(torch.tensor(part.numbers))
                self._keep(lesson, places, kept)
            written += len(places)
            kept.finish_batches(number + 1)
            if pace.too_slow(written):
                return
            progress("teacher", part.done, len(rows))
        self._kept = kept

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Lesson:
        """The lesson of a batch."""
        if self._kept is None or "row" not in batch:
            return self._ask(batch)
        top = self._kept.read(self._places(batch["row"].cpu()))
        device = batch["input_ids"].device
        return Lesson(self._divergence, TopLogits(top.tokens.to(device), top.values.to(device), top.rest.to(device)))

    def _ask(self, batch: Mapping[str, torch.Tensor]) -> Lesson:
        self.teacher.model.to(batch["input_ids"].device)
        with torch.no_grad():
            states, stacks = self.teacher.states(batch, hidden_states=self._hidden_states)
        return Lesson(self._divergence, None, states, token_head(self.teacher.model), stacks)

    def _keep(self, lesson: Lesson, places: torch.Tensor, kept: TopLogitsFile) -> None:
        assert lesson.states is not None
        assert lesson.head is not None
        size = max(1, CHUNK // lesson.head.vocabulary)
        with torch.no_grad():
            for start in range(0, len(places), size):
                rows = slice(start, start + size)
                own = self._divergence.soften(lesson.head(lesson.states[rows]))
                kept.write(places[rows], TopLogits.of(own, self._top_k))

    def _places(self, items: torch.Tensor) -> torch.Tensor:
        """Where the rows of some items lie, in the order in which a batch has them."""
        starts, counts = self._starts[items], self._counts[items]
        behind = torch.repeat_interleave(starts - (counts.cumsum(0) - counts), counts)
        return behind + torch.arange(int(counts.sum()))
