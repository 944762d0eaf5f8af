"""What stands against the figures of a profile: other work on the machine, rounds that differ, ratios that are not
sure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from edgelm.hardware.busy import Busy
from edgelm.profile.interval import measure_ratio
from edgelm.profile.result import AnyCase, Profile

_SPREAD = 1.5  # times the fast rounds' latency: slower rounds are another mode of the machine
_OF_CASE = "Its calls ("  # how a doubt about the rounds of one case begins
_FEWEST = 5  # stretches of calls, to speak of fast and slow ones


def find_warnings(busy: Busy, cases: Sequence[AnyCase]) -> tuple[str, ...]:
    """A sentence for each doubt about what was measured of one subject."""
    return (*busy.warnings(), *(words for words in map(unsteady, cases) if words))


def unsteady(case: AnyCase) -> str:
    """Says so, if some stretches of calls took far longer than others; empty if not, or if there were too few to tell.

    A stretch is one round or, where more inputs take turns, as many as see every input once: long texts take longer
    than short ones.
    """
    size = case.block * -(-max(case.inputs, 1) // case.block)
    stretches = [
        np.median(case.samples_ms[start : start + size]) for start in range(0, len(case.samples_ms) - size + 1, size)
    ]
    if len(stretches) < _FEWEST:
        return ""
    fast, slow = (float(value) for value in np.percentile(stretches, (10, 90)))
    if slow < _SPREAD * fast:
        return ""
    return (
        f"{_OF_CASE}{case.label}) took {fast:.3g} ms in fast rounds and {slow:.3g} ms in slow ones: the machine "
        "changed meanwhile."
    )


def doubts_of(case: AnyCase, warnings: Iterable[str]) -> list[str]:
    """Those of a profile's doubts that stand against one of its cases: of the machine, and of that case's rounds."""
    return [
        words for words in warnings if not words.startswith(_OF_CASE) or words.startswith(f"{_OF_CASE}{case.label})")
    ]


def with_ratios(profiles: Sequence[Profile]) -> list[Profile]:
    """The same profiles, each but the last with the ratios of its cases to those of the last.

    Rounds are compared with rounds of the same time, where both were measured in one run; those of other hosts are not.
    """
    *others, last = profiles
    against = last.name if last.host is None else f"{last.name} on {last.host}"
    found = []
    for entry in others:
        paired = (entry.host, entry.created) == (last.host, last.created)
        pairs = zip(entry.cases, last.cases, strict=True)
        cases = (
            replace(
                case, ratio=measure_ratio(case.samples_ms, other.samples_ms, case.block, against=against, paired=paired)
            )
            for case, other in pairs
        )
        found.append(replace(entry, cases=tuple(cases)))
    return [*found, replace(last, cases=tuple(replace(case, ratio=None) for case in last.cases))]
