"""After a cut, without training: every output projection is solved anew, so that its sublayer gives what the original's
gave.

Source: the layer-wise reconstruction of Kwon et al., "A Fast Post-Training Pruning Framework for Transformers" (2022,
arXiv:2204.09656), section 4.4, which scales the units that stay. Here the whole matrix and bias are solved for, held
near what they were by the damping: that is the same least-squares problem with more unknowns, and the normal equations
are as cheap.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from transformers import PreTrainedModel

from edgelm.anatomy import Sublayer, TaskModel, model_layers, sublayers
from edgelm.anatomy.hooks import Watch, watching
from edgelm.anatomy.layer import ATTENTION, FFN, Kind
from edgelm.compress.batches import Batch
from edgelm.compress.pruning.second_moments import token_batches
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress, silent
from edgelm.tasks.text import SentenceEmbedding

_DAMPING = 0.02


def reconstruct(
    student: PreTrainedModel,
    original: TaskModel,
    rows: Dataset,
    *,
    sources: Sequence[tuple[int, int]],
    progress: Progress = silent,
) -> PreTrainedModel:
    """A copy of the student with new output projections, from the input on: each sees what those before it now give.

    Args:
        original: the model that the student was cut from.
        rows: texts; more of them cost time, no memory but for the original's sums in half precision.
        sources: for each layer of the student the original's layers that it stands for, first and last.
    """
    student = copy.deepcopy(student).eval()
    asked = original.with_model(student)
    batches = token_batches(original, rows)
    wanted = _sums(original, batches, progress)
    count, steps = len(model_layers(student)), sublayers(student)
    for number, (index, sublayer) in enumerate(steps):
        first_only = index == count - 1 and sublayer.kind == FFN and _reads_first(asked)
        source = sources[index][0 if sublayer.kind == ATTENTION else 1]
        _solve(asked, sublayer, batches, wanted[source, sublayer.kind], first_only=first_only)
        progress("reconstruct", number + 1, len(steps))
    return student


def _reads_first(model: TaskModel) -> bool:
    """Whether the last layer's first token is all that the head reads."""
    task = model.task
    if task.per != "sample" or getattr(model.model.config, "classifier_pooling", "cls") != "cls":
        return False
    return not isinstance(task, SentenceEmbedding) or task.pooling == "cls"


class _Reached(Exception):
    """What comes after is not needed."""


def _solve(
    student: TaskModel,
    sublayer: Sublayer,
    batches: Sequence[Batch],
    wanted: Sequence[torch.Tensor],
    *,
    first_only: bool,
) -> None:
    """min ‖X W − (original's sum − residual)‖² + damping · ‖W − W₀‖², with a column of ones for the bias."""
    output = sublayer.output
    output.ensure_bias()
    width = output.in_features + 1
    gram, cross = (
        torch.zeros(width, width, dtype=torch.float64),
        torch.zeros(width, output.out_features, dtype=torch.float64),
    )
    for batch, sums in zip(batches, wanted, strict=True):
        keep = _kept_tokens(batch, first_only=first_only)
        values, residual = (given[keep] for given in _given(student, batch, sublayer))
        ones = torch.cat([values, values.new_ones(len(values), 1)], dim=1)
        error = sums[keep].float() - residual - torch.nn.functional.linear(values, output.weight, output.bias)
        gram += (ones.T @ ones).double()
        cross += (ones.T @ error).double()
    diagonal = gram.diagonal()
    damped = gram + torch.diag(torch.full_like(diagonal, _DAMPING * float(diagonal[:-1].mean())))
    change = torch.linalg.solve(damped, cross).float().T
    with torch.no_grad():
        output.weight.add_(change[:, :-1])
        if output.bias is not None:
            output.bias.add_(change[:, -1])


def _given(student: TaskModel, batch: Batch, sublayer: Sublayer) -> tuple[torch.Tensor, torch.Tensor]:
    """What a sublayer's output projection is given, and what its output is added to, each (batch, tokens, width); the
    model runs no further."""
    values: list[torch.Tensor] = []
    residuals: list[torch.Tensor] = []

    def stop(given: torch.Tensor) -> None:
        values.append(given)
        raise _Reached

    watched = [(sublayer.residual, residuals.append), (sublayer.output.module, stop)]
    with watching(inputs=watched), torch.inference_mode(), suppress(_Reached):
        student.outputs(batch)
    return values[0], residuals[0]


def _sums(
    original: TaskModel, batches: Sequence[Batch], progress: Progress
) -> dict[tuple[int, Kind], list[torch.Tensor]]:
    """By layer and sublayer, batch by batch: residual plus what the sublayer adds, (batch, tokens, hidden) float16."""
    found: dict[tuple[int, Kind], list[torch.Tensor]] = {}
    for number, batch in enumerate(batches):
        with _watch_sums(original.model.eval()) as sums, torch.inference_mode():
            original.outputs(batch)
        for key, value in sums.items():
            found.setdefault(key, []).append(value.half())
        progress("original", number + 1, len(batches))
    return found


@contextmanager
def _watch_sums(model: PreTrainedModel) -> Iterator[dict[tuple[int, Kind], torch.Tensor]]:
    found: dict[tuple[int, Kind], torch.Tensor] = {}

    def remember(key: tuple[int, Kind]) -> Watch:
        return lambda residual: found.update({key: residual})

    def add(key: tuple[int, Kind]) -> Watch:
        return lambda output: found.update({key: found[key] + output})

    parts = [
        ((index, sublayer.kind), sublayer)
        for index, layer in enumerate(model_layers(model))
        for sublayer in layer.sublayers
        if sublayer.units or sublayer.kind != ATTENTION  # else nothing reads the residual there
    ]
    with watching(
        inputs=[(sublayer.residual, remember(key)) for key, sublayer in parts],
        outputs=[(sublayer.output.module, add(key)) for key, sublayer in parts],
    ):
        yield found


def _kept_tokens(batch: Batch, *, first_only: bool) -> torch.Tensor:
    """(batch, tokens) bool: real tokens; or the first alone, where nothing reads the others' last state."""
    keep = batch["attention_mask"].bool()
    if first_only:
        keep = torch.zeros_like(keep)
        keep[:, 0] = True
    return keep
