"""Betters a choice of pruning levels step by step: a module gives units up, another gets what that leaves, and what the
whole model loses says whether it stays so.

Source: the level switches of Sieberling, Kuznedelev, Kurtic and Alistarh, "EvoPress" (2024, arXiv:2410.14649), with one
child a generation. No sum of errors over modules is believed, as a search by coefficients does: modules that can go one
by one, but not together, are found out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.compress.pruning.levels import ModuleLevels
from edgelm.compress.pruning.spdy import Loss, assemble, pick_levels
from edgelm.progress import Progress, silent

_FURTHEST = 3  # levels that a module falls at once
_DRAWS = 20  # of two modules, until there is something to exchange


def exchange(
    model: PreTrainedModel,
    module_levels: Sequence[ModuleLevels],
    start: list[int],
    least: float,
    loss: Loss,
    fits: Callable[[list[int]], bool],
    *,
    tries: int,
    seed: int = 0,
    progress: Progress = silent,
) -> list[int]:
    """The choice of the least loss that was found.

    Args:
        start: the choice to begin with, and `least` its loss.
        loss: of a whole model, on calibration texts.
        fits: whether a choice may be made.
        tries: changes whose loss is looked at.
    """
    best = start
    draw = np.random.default_rng(seed)
    for number in range(tries):
        picks = processes.same(_changed(module_levels, best, fits, draw))
        if picks is not None:
            found = processes.same(loss(assemble(model, pick_levels(module_levels, picks))))
            if found < least:
                best, least = picks, found
        progress("exchange", number + 1, tries)
    return best


def _changed(
    module_levels: Sequence[ModuleLevels],
    picks: list[int],
    fits: Callable[[list[int]], bool],
    draw: np.random.Generator,
) -> list[int] | None:
    """A choice in which one module has less, and another as much more as fits; None: none was drawn."""
    for _ in range(_DRAWS):
        giver, taker = draw.choice(len(picks), size=2, replace=False)
        changed = list(picks)
        changed[giver] = min(picks[giver] + int(draw.integers(1, _FURTHEST + 1)), len(module_levels[giver].levels) - 1)
        while changed[taker] > 0:
            changed[taker] -= 1
            if not fits(changed):
                changed[taker] += 1
                break
        if changed[giver] > picks[giver] and changed[taker] < picks[taker] and fits(changed):
            return changed
    return None
