"""A case before it is measured: what a call of it is, and how many are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgelm.profile.interleave import BLOCK_CALLS, SETTLE_CALLS
from edgelm.profile.result import AnyCase, Case


@dataclass(frozen=True)
class Pace:
    """How many calls of a case are made.

    Attributes:
        warmup: of each subject, before all others.
        runs: counted calls of each subject.
        block: counted calls of a round, in which subjects take turns.
        settle: calls at the beginning of a round that are not counted.
    """

    warmup: int
    runs: int
    block: int = BLOCK_CALLS
    settle: int = SETTLE_CALLS


class Point(Protocol):
    """A case that can be measured."""

    @property
    def pace(self) -> Pace: ...

    @property
    def label(self) -> str:
        """The case in words."""
        ...

    def case(self, samples: Sequence[float], inputs: int, facts: dict[str, Any]) -> AnyCase:
        """The case, measured.

        Args:
            samples: in ms.
            inputs: how many took turns.
            facts: what the worker said when it was prepared.
        """
        ...


@dataclass(frozen=True)
class TextPoint:
    """Texts in a call, and tokens of each; None: texts of their own lengths."""

    batch: int
    sequence: int | None
    pace: Pace

    @property
    def label(self) -> str:
        """As in `Point`."""
        return Case(self.batch, self.sequence, ()).label

    def case(self, samples: Sequence[float], inputs: int, facts: dict[str, Any]) -> AnyCase:
        """As in `Point`."""
        return Case(self.batch, self.sequence, tuple(samples), inputs=inputs)
