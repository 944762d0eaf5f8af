"""What a bundle was measured beside: the subject that its figures are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from edgelm.report.tables import Profiles, profile_of

Bundle = TypeVar("Bundle", bound=Mapping[str, Any])


def pairs(
    bundles: Sequence[Bundle], profiles: Profiles
) -> Iterator[tuple[Bundle, dict[str, Any] | None, dict[str, Any] | None]]:
    """Each bundle with its first profile and that of what it is compared with; None: it was not measured, or alone."""
    for bundle in bundles:
        mine = profile_of(bundle, profiles)
        yield bundle, mine, None if mine is None else reference_of(mine, profiles, bundles)


def reference_of(
    profile: Mapping[str, Any], profiles: Profiles, bundles: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """What a bundle is compared with: of the subjects that took turns with it on its machine the last that is none of
    the report's bundles, which is a checkpoint in PyTorch where there is one; None: it was measured alone."""
    known = {bundle["id"] for bundle in bundles}
    beside = [
        other
        for other in profiles
        if (other["file"], other["host"]) == (profile["file"], profile["host"]) and other["id"] not in known
    ]
    checkpoints = [other for other in beside if other["kind"] == "pytorch"]
    return next(iter(reversed(checkpoints or beside)), None)
