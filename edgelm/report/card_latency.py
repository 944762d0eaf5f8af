"""What the card of a bundle says of its latency: figures of profiles, with the machine and its instruction sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.markdown import escaped, markdown_rows
from edgelm.report.generation import speed_sections
from edgelm.report.language import thread_words
from edgelm.report.tables import Profiles, doubt_notes, provider_notes, runs_words, subject_table


def latency_lines(bundle_id: str, profiles: Profiles) -> list[str]:
    """Lines of Markdown: for each machine on which the bundle was measured, what ran there in turns with it.

    Args:
        bundle_id: as `edgelm.report.gather.bundle_id` gives it.
        profiles: as `read_profiles` gives them.

    Returns:
        Nothing, where no profile is of the bundle.
    """
    measured = [profile for profile in profiles if profile["id"] == bundle_id]
    lines: list[str] = []
    for file, host in dict.fromkeys((profile["file"], profile["host"]) for profile in measured):
        here = [profile for profile in profiles if (profile["file"], profile["host"]) == (file, host)]
        lines += [escaped(_machine(here[0])), ""]
        for note in [*provider_notes(here), *(f"Doubtful: {note}" for note in doubt_notes(here))]:
            lines += [escaped(note), ""]
        for table in [*(table for _, table in speed_sections(here)), subject_table(here)]:
            lines += [escaped(line) for line in markdown_rows(table)]
    return lines


def _machine(profile: Mapping[str, Any]) -> str:
    machine, settings = profile["machine"], profile["settings"]
    sets = ", ".join(machine.get("instructions") or ()) or "none that change its speed"
    gpus = f", {', '.join(machine['gpus'])}" if machine.get("gpus") else ""
    return (
        f"Measured by `edgelm profile` on {machine['cpu']} ({machine['cores']} cores, instruction sets: {sets}{gpus}), "
        f"{thread_words(settings['threads'])}, {runs_words(settings)}, in turns; {profile['created']}."
    )
