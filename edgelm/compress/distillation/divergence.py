"""How far a student's distribution is from its teacher's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

Kind = Literal["forward-kl", "reverse-kl", "jensen-shannon"]


@dataclass(frozen=True)
class Divergence:
    """A divergence of softened distributions, times T² so that gradients keep their size (Hinton et al. 2015).

    Attributes:
        kind: forward-kl is KL(teacher‖student), reverse-kl KL(student‖teacher) (MiniLLM, Gu et al. 2024,
            arXiv:2306.08543), jensen-shannon β KL(teacher‖m) + (1 - β) KL(student‖m) with m = β teacher + (1 - β)
            student (GKD, Agarwal et al. 2024, arXiv:2306.13649, eq. 1).
        temperature: T that logits are divided by.
        mixture: β.
    """

    kind: Kind = "forward-kl"
    temperature: float = 1.0
    mixture: float = 0.5

    def soften(self, logits: torch.Tensor) -> torch.Tensor:
        """Logarithms of the softened probabilities, float32 at least."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return functional.log_softmax(wide / self.temperature, dim=-1)

    def between(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """The divergence of each row, (rows,).

        Args:
            student, teacher: (rows, events) logarithms of softened probabilities that sum to 1.
        """
        if self.kind == "forward-kl":
            found = _kl(teacher, student)
        elif self.kind == "reverse-kl":
            found = _kl(student, teacher)
        else:
            middle = torch.logaddexp(teacher + math.log(self.mixture), student + math.log1p(-self.mixture))
            found = self.mixture * _kl(teacher, middle) + (1 - self.mixture) * _kl(student, middle)
        return self.temperature**2 * found

    def of_logits(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """The divergence of each row of logits (rows, classes)."""
        return self.between(self.soften(student), self.soften(teacher))

    def of_labels(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """The mean over labels that do not exclude each other, each a distribution of two events, of logits (rows,
        labels)."""
        student, teacher = (_both(logits / self.temperature) for logits in (student, teacher))
        return self.between(student, teacher).mean(dim=-1)


def _kl(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return functional.kl_div(second, first, log_target=True, reduction="none").sum(dim=-1)


def _both(logits: torch.Tensor) -> torch.Tensor:
    """Logarithms of the probabilities that a label holds, and that it does not, along a new last axis."""
    return torch.stack([functional.logsigmoid(logits), functional.logsigmoid(-logits)], dim=-1)
