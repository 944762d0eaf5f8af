"""What is to be measured of models that write: prompts and contexts that all subjects can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.errors import UsageError
from edgelm.profile.generation.case import GenerationCase
from edgelm.profile.generation.worker import FIRST, NEXT
from edgelm.profile.points import Pace
from edgelm.profile.subject import Subject

PROMPTS, CONTEXTS = (16, 128, 512), (16, 256, 1024)  # tokens, where nothing else is asked for
_TOKEN_CALLS, _PROMPT_CALLS = (5, 100), (1, 20)  # not counted and counted
_PROMPT_BLOCK, _PROMPT_SETTLE = 4, 1  # a prompt takes as long as many tokens, and fills the caches itself


@dataclass(frozen=True)
class GenerationPoint:
    """A prompt of so many tokens, or one token behind so many; see `GenerationCase`."""

    measure: str
    tokens: int
    pace: Pace

    @property
    def label(self) -> str:
        """As in `edgelm.profile.points.Point`."""
        return self.case((), 1, {}).label

    @property
    def feed(self) -> dict[str, Any]:
        """What the worker is told."""
        return {"measure": self.measure, "tokens": self.tokens}

    def case(self, samples: Sequence[float], inputs: int, facts: dict[str, Any]) -> GenerationCase:
        """As in `edgelm.profile.points.Point`."""
        return GenerationCase(
            self.measure, self.tokens, tuple(samples), self.pace.block, inputs, cache_mb=facts.get("cache_mb")
        )


def generation_points(
    subjects: Sequence[Subject],
    *,
    prompt_lengths: Sequence[int] = (),
    contexts: Sequence[int] = (),
    warmup: int | None = None,
    runs: int | None = None,
) -> tuple[GenerationPoint, ...]:
    """Contexts, shorter ones first, then prompts.

    Args:
        prompt_lengths, contexts: in tokens; empty: those of `PROMPTS` and `CONTEXTS` that every subject can hold, or
            half of what it can where that is none.
        warmup, runs: of every case; None: more of the tokens, fewer of the prompts.

    Raises:
        UsageError: a subject that does not write, or lengths that one cannot hold.
    """
    for subject in subjects:
        if not subject.generates:
            raise UsageError(
                f"{subject.path} writes no text; {subjects[0].name} does.", hint="Compare models of the same kind."
            )
    longest = min((subject.longest for subject in subjects if subject.longest), default=None)
    behind = _lengths("--context", contexts, CONTEXTS, None if longest is None else longest - 1)
    prompts = _lengths("--prompt-length", prompt_lengths, PROMPTS, longest)
    tokens, texts = _pace(_TOKEN_CALLS, warmup, runs), _pace(_PROMPT_CALLS, warmup, runs)
    texts = Pace(texts.warmup, texts.runs, _PROMPT_BLOCK, _PROMPT_SETTLE)
    return (
        *(GenerationPoint(NEXT, length, tokens) for length in behind),
        *(GenerationPoint(FIRST, length, texts) for length in prompts),
    )


def _pace(usual: tuple[int, int], warmup: int | None, runs: int | None) -> Pace:
    return Pace(usual[0] if warmup is None else warmup, usual[1] if runs is None else runs)


def _lengths(option: str, given: Sequence[int], usual: Sequence[int], longest: int | None) -> list[int]:
    if any(length < 1 or (longest is not None and length > longest) for length in given):
        held = "1 token or more" if longest is None else f"1 to {longest:,} tokens"
        raise UsageError(f"{option} is {', '.join(map(str, given))}; here {held} can be held.", hint="Give others.")
    fitting = [length for length in usual if longest is None or length <= longest]
    return sorted(dict.fromkeys(given)) or fitting or [max(1, (longest or 1) // 2)]
