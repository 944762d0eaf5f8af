"""Where `edgelm compress` takes model and recipe from: what was typed, or a trial of a search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.errors import UsageError

if TYPE_CHECKING:
    from edgelm.search.chosen import ChosenTrial


def check_source(model: str | None, recipe: str | None, number: int | None, search: Path | None) -> None:
    """Refuse what does not go together, before anything is read.

    Raises:
        UsageError: no model; a trial without its search, or the other way round; a trial and a recipe.
    """
    if (number is None) != (search is None):
        raise UsageError(
            "--from-trial and --search go together.", hint="For instance: --from-trial 12 --search build/search"
        )
    if number is None and model is None:
        raise UsageError("which model?", hint="Give its folder or hub id: edgelm compress MODEL --data ...")
    if number is not None and recipe is not None:
        raise UsageError("--from-trial has its own recipe.", hint="Leave --recipe out; --set changes single settings.")


def read_trial(number: int | None, search: Path | None) -> ChosenTrial | None:
    """The trial that was asked for, if one was.

    Raises:
        InputError, UsageError: as `choose_trial`.
    """
    if number is None or search is None:
        return None
    from edgelm.search.chosen import choose_trial

    return choose_trial(search, number)
