"""A generator's hidden states in its teacher's width: one linear map for each stack of layers."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy import TaskModel
from edgelm.compress.batches import EncodedDataset
from edgelm.compress.distillation.layer_matching import layer_pairs
from edgelm.compress.distillation.projection import FIT_ROWS, LeastSquares, identity_projection
from edgelm.training_settings import DistillLoss


def stack_projections(
    student: PreTrainedModel, teacher: TaskModel, loss: DistillLoss, rows: EncodedDataset
) -> nn.ModuleList | None:
    """What takes the student's hidden states to the teacher's, where widths differ or matching is dynamic: the maps
    that fit best before training, by least squares over layers at equal depth; or, of equal width, maps that change
    nothing.

    Args:
        rows: that the maps are fitted on; 256 of them are read.

    Returns:
        a map for a decoder, or those of encoder and decoder; None: states are compared as they are.
    """
    if loss.hidden == 0:
        return None
    narrow, wide = int(student.config.hidden_size), int(teacher.model.config.hidden_size)
    stacks = 2 if teacher.model.config.is_encoder_decoder else 1
    if narrow == wide:
        return nn.ModuleList(identity_projection(wide) for _ in range(stacks)) if loss.matching == "dynamic" else None
    fits = [LeastSquares(narrow, wide) for _ in range(stacks)]
    learner = teacher.with_model(student.eval())
    teacher.model.eval()
    for index in range(0, len(rows), max(1, len(rows) // FIT_ROWS)):
        batch = rows.batch([index])
        found, wanted = (asked.states(batch, hidden_states=True)[1] for asked in (learner, teacher))
        for fit, own, given in zip(fits, found, wanted, strict=True):
            real = own.mask[0].bool()
            for there, here in layer_pairs(len(given.states) - 1, len(own.states) - 1):
                fit.add(own.states[here][0][real].detach(), given.states[there][0][real].detach())
    return nn.ModuleList(fit.solve() for fit in fits)
