"""A student's hidden states in the teacher's width: a linear map that is trained with the student and thrown away with
the loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy import TaskModel, model_layers
from edgelm.compress.batches import EncodedDataset
from edgelm.compress.distillation.layer_matching import layer_pairs
from edgelm.data.dataset import Dataset

_NAME = "distillation_projection"
FIT_ROWS = 256  # some thousand tokens: several times a student's width
_RIDGE = 1e-4  # of the mean square of a hidden dimension: keeps dimensions that never move out of the solution


def identity_projection(width: int) -> nn.Linear:
    """A map that changes nothing yet: CoFi's start, where student and teacher are equally wide."""
    projection = nn.Linear(width, width, bias=False)
    nn.init.eye_(projection.weight)
    return projection


def fitted_projection(teacher: TaskModel, student: PreTrainedModel, dataset: Dataset, *, seed: int) -> nn.Linear:
    """The map that best takes the student's hidden states to the teacher's before training, by least squares over
    layers at equal depth.

    TinyBERT's W (Jiao et al. 2020, eq. 8) begins at random, which first turns a student that was cut out of its teacher
    away from what it has in common with it; this start agrees with the cut.

    Args:
        dataset: texts; 256 of them are read.
    """
    pairs = layer_pairs(len(model_layers(teacher.model)), len(model_layers(student)))
    encoded = EncodedDataset(dataset.sample(FIT_ROWS, seed=seed), teacher)
    learner = teacher.with_model(student.eval())
    teacher.model.eval()
    fit = LeastSquares(student.config.hidden_size, teacher.model.config.hidden_size)
    for index in range(len(encoded)):
        batch = encoded.batch([index])
        with torch.no_grad():
            _, wanted = teacher.outputs(batch, hidden_states=True)
            _, found = learner.outputs(batch, hidden_states=True)
        for teacher_layer, student_layer in pairs:
            fit.add(found[student_layer][0], wanted[teacher_layer][0])
    return fit.solve()


class LeastSquares:
    """The linear map from narrow vectors to wide ones that leaves the least squared error, over all that are added."""

    def __init__(self, narrow: int, wide: int) -> None:
        self._squares = torch.zeros(narrow, narrow, dtype=torch.float64)
        self._products = torch.zeros(narrow, wide, dtype=torch.float64)

    def add(self, found: torch.Tensor, wanted: torch.Tensor) -> None:
        """Add pairs of vectors: (tokens, narrow) and (tokens, wide)."""
        states = found.double()
        self._squares += states.T @ states
        self._products += states.T @ wanted.double()

    def solve(self) -> nn.Linear:
        """The map."""
        narrow, wide = self._products.shape
        ridge = _RIDGE * self._squares.diagonal().mean().clamp(min=1e-12)
        squares = self._squares + ridge * torch.eye(narrow, dtype=torch.float64)
        projection = nn.Linear(narrow, wide, bias=False)
        projection.weight = nn.Parameter(torch.linalg.solve(squares, self._products).T.float().contiguous())
        return projection


@contextlib.contextmanager
def attached(student: PreTrainedModel, projection: nn.Module | None) -> Iterator[None]:
    """Inside, the map is a part of the student: optimizer, training states and device take it along; afterwards it is
    gone."""
    if projection is None:
        yield
        return
    student.add_module(_NAME, projection)
    try:
        yield
    finally:
        delattr(student, _NAME)
