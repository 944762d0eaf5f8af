"""Teacher cache: outputs and hidden states of every training row, computed once when rows are read at least twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil
import torch

from edgelm import distributed as processes
from edgelm.anatomy import TaskModel
from edgelm.compress.batches import EncodedDataset
from edgelm.compress.distillation.pace import Pace
from edgelm.progress import Progress, silent

States = Mapping[int, torch.Tensor] | Sequence[torch.Tensor]

_BATCH = 64
_MEMORY = 0.6  # of what is free may be filled


@dataclass(frozen=True)
class _Kept:
    """The answers by row: (rows, width), or those of all rows' tokens one after the other, (tokens, width); the hidden
    states of all tokens, (tokens, layers, hidden) float16."""

    outputs: torch.Tensor
    states: torch.Tensor
    starts: torch.Tensor
    lengths: torch.Tensor


class TeacherCache:
    """A teacher's outputs, and its hidden states after some layers, for batches of training rows.

    Args:
        layers: indices into its hidden states, the embeddings' output first.
    """

    def __init__(self, teacher: TaskModel, layers: Sequence[int]) -> None:
        teacher.model.eval().requires_grad_(False)
        self.teacher = teacher
        self.layers = tuple(layers)
        self._kept: _Kept | None = None

    def prepare(
        self,
        rows: EncodedDataset,
        *,
        passes: float,
        half: bool,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> None:
        """Ask for all rows now, if they are read at least twice, on one CPU process, and memory and time are there;
        else not at all.

        Once is enough, also for several students of the same rows.

        Args:
            rows: numbered, as the batches will be.
            passes: how often the student reads them.
            half: whether the teacher computes in bfloat16.
            seconds: that the whole training may take.
        """
        if (
            self._kept is not None
            or passes < 2
            or rows.parts is not None  # several sequences a row
            or processes.count() > 1
            or torch.cuda.is_available()
            or self._bytes(rows) > _MEMORY * psutil.virtual_memory().available
        ):
            return
        tokens = sum(rows.lengths)
        pace = Pace(tokens, seconds)
        lengths = torch.tensor(rows.lengths)
        starts = lengths.cumsum(0) - lengths
        states = torch.empty(tokens, len(self.layers), self._hidden, dtype=torch.float16)
        outputs = torch.empty(0)
        done = 0
        for part in rows.by_length(_BATCH):
            chosen, batch = part.numbers, part.tensors
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                found, hidden = self._ask(batch)
            real = batch["attention_mask"].bool()
            places = torch.cat([int(starts[row]) + torch.arange(rows.lengths[row]) for row in chosen])
            if not len(outputs):
                outputs = torch.empty(tokens if self._by_token else len(rows), found.shape[-1])
            if self._by_token:
                outputs[places] = found[real].float()
            else:
                outputs[chosen] = found.float()
            for place, layer in enumerate(self.layers):
                states[places, place] = hidden[layer][real].half()
            done += len(places)
            if pace.too_slow(done):
                return
            progress("teacher", part.done, len(rows))
        self._kept = _Kept(outputs, states, starts, lengths)

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, States]:
        """What the teacher answers to a batch: outputs, and hidden states (batch, tokens, hidden) by index."""
        if self._kept is None or "row" not in batch:
            return self._ask(batch)
        kept, rows = self._kept, batch["row"]
        if not self.layers and not self._by_token:
            return kept.outputs[rows], {}
        width = batch["input_ids"].shape[1]
        offsets = torch.minimum(
            torch.arange(width), kept.lengths[rows].unsqueeze(1) - 1
        )  # padding reads its row's last token
        places = kept.starts[rows].unsqueeze(1) + offsets
        outputs = kept.outputs[places] if self._by_token else kept.outputs[rows]
        if not self.layers:
            return outputs, {}
        states = kept.states[places].float()
        return outputs, {layer: states[:, :, place] for place, layer in enumerate(self.layers)}

    def _ask(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, States]:
        self.teacher.model.to(batch["input_ids"].device)
        with torch.no_grad():
            return self.teacher.outputs(batch, hidden_states=bool(self.layers))

    @property
    def _by_token(self) -> bool:
        return self.teacher.task.per != "sample"

    @property
    def _hidden(self) -> int:
        return int(self.teacher.model.config.hidden_size)

    def _bytes(self, rows: EncodedDataset) -> int:
        states = 2 * sum(rows.lengths) * len(self.layers) * self._hidden
        return states + (4 * sum(rows.lengths) * _width(self.teacher) if self._by_token else 0)


def _width(teacher: TaskModel) -> int:
    """Outputs of one token."""
    task = teacher.task
    return (
        max(len(task.labels), len(task.output_names))
        if task.labels or task.per == "position"
        else int(teacher.model.config.vocab_size)
    )
