"""Losses on the rows that count in a model's outputs: against a teacher's rows, and against labels.

What a row is (classes, several labels, values, a vector) decides; the kind of task does not.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from edgelm.anatomy import Rows
from edgelm.compress.distillation.divergence import Divergence, Kind
from edgelm.data.encoding import NO_CLASS
from edgelm.tasks.task import Output


def soft_loss(
    student: Rows,
    teacher: torch.Tensor,
    output: Output,
    *,
    temperature: float,
    kind: Kind = "forward-kl",
    mixture: float = 0.5,
) -> torch.Tensor:
    """How far the student's rows are from the teacher's.

    Args:
        student: rows of logits, values or vectors.
        teacher: (rows, width) of the same samples; vectors may have another width.
        temperature, kind, mixture: of the divergence, see there.

    Returns:
        the divergence of the softened classes; its Bernoulli form for several labels; mean squared error for values;
        for vectors the squared distance (2 − 2·cosine where they have length one), or, where they differ in width, how
        far apart the cosines between the batch's vectors are (Tung and Mori 2019, arXiv:1907.09682).
    """
    values = student.values
    if output == "vectors":
        if values.shape != teacher.shape:
            values, teacher = cosines(values), cosines(teacher)
        return student.mean((values - teacher).square().sum(dim=-1))
    if output == "values":
        return student.mean((values - teacher).square().mean(dim=-1))
    divergence = Divergence(kind, temperature, mixture)
    distance = divergence.of_labels if output == "binary" else divergence.of_logits
    return student.mean(distance(values, teacher))


def hard_loss(rows: Rows, targets: torch.Tensor, output: Output) -> torch.Tensor:
    """The loss on labels: cross-entropy, its binary form for several labels, or squared error.

    Rows without a label (`NO_CLASS`, or NaN) add nothing. The sum is divided by all of them, so that each label weighs
    the same whatever the batch it comes in.

    Args:
        targets: (rows,) classes or values, or (rows, labels).
    """
    if output == "classes":
        losses = functional.cross_entropy(rows.values, targets, ignore_index=NO_CLASS, reduction="none")
        return rows.mean(losses)
    known = ~targets.isnan()
    wanted = targets.nan_to_num().to(rows.values.dtype)
    if output == "values":
        return rows.mean((rows.values.squeeze(-1) - wanted).square() * known)
    losses = functional.binary_cross_entropy_with_logits(rows.values, wanted, reduction="none")
    return rows.mean((losses * known).mean(dim=-1))


def cosines(vectors: torch.Tensor) -> torch.Tensor:
    """(rows, width) to (rows, rows)."""
    unit = functional.normalize(vectors, dim=-1)
    return unit @ unit.T
