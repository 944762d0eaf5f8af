"""Tables of models that write: tokens by context, first token by prompt."""

from __future__ import annotations

from typing import Any

from edgelm.markdown import Table
from edgelm.report.estimates import memory_cell, named_on
from edgelm.report.language import tr, tr_all
from edgelm.report.tables import Estimates, Profiles, band_cell, latency_table, p50_cell, ratio_cell, subject_name


def speed_sections(profiles: Profiles, estimates: Estimates | None = None) -> list[tuple[str, Table]]:
    """How fast the subjects are, as tables with their titles: of models that answer one, of models that write two."""
    if not writes(profiles):
        return [(tr("Latency"), latency_table(profiles, estimates))]
    return [
        (tr("Tokens by context"), token_table(profiles, estimates)),
        (tr("First token by prompt"), first_token_table(profiles, estimates)),
    ]


def writes(profiles: Profiles) -> bool:
    """Whether they are of models that write."""
    return "measure" in profiles[0]["cases"][0]


def token_table(profiles: Profiles, estimates: Estimates | None = None) -> Table:
    """One row a context and subject: how fast it writes there, and what its memory takes.

    Args:
        estimates: of the same contexts, for devices that are not there: rows with the p50 alone, from low to high, and
            a column that tells them apart.
    """
    header = tr_all("subject", "context", "tokens/s", "p50 ms", "p90 ms", "p99 ms", "cache MB", "peak memory MB")
    header += _against(profiles)
    rows = []
    for number in _places(profiles, "token"):
        for profile in profiles:
            case = profile["cases"][number]
            speed = [f"{case['tokens_per_s']:.1f}", p50_cell(case), f"{case['p90_ms']:.3f}", f"{case['p99_ms']:.3f}"]
            memory = ["" if case[name] is None else f"{case[name]:.1f}" for name in ("cache_mb", "peak_memory_mb")]
            last = [ratio_cell(case, profiles[-1]["cases"][number])] if len(profiles) > 1 else []
            rows.append([subject_name(profile), f"{case['tokens']:,}", *speed, *memory, *last])
        for entry, known in _estimated(estimates, profiles[0]["cases"][number]):
            about = [named_on(entry), f"{known['tokens']:,}", f"{known['tokens_per_s']:.1f}"]
            cells = [*about, band_cell(known), "", "", f"{known['cache_mb']:.1f}", memory_cell(known)]
            rows.append(_filled(cells, header, entry))
    return _with_source(header, rows, estimates)


def first_token_table(profiles: Profiles, estimates: Estimates | None = None) -> Table:
    """One row a prompt and subject: how long its first token takes, and how fast it is read; estimates as in
    `token_table`."""
    header = [*tr_all("subject", "prompt", "p50 ms", "p90 ms", "p99 ms", "tokens/s read"), *_against(profiles)]
    rows = []
    for number in _places(profiles, "first-token"):
        for profile in profiles:
            case = profile["cases"][number]
            figures = [p50_cell(case), f"{case['p90_ms']:.3f}", f"{case['p99_ms']:.3f}", f"{case['tokens_per_s']:.0f}"]
            last = [ratio_cell(case, profiles[-1]["cases"][number])] if len(profiles) > 1 else []
            rows.append([subject_name(profile), f"{case['tokens']:,}", *figures, *last])
        for entry, known in _estimated(estimates, profiles[0]["cases"][number]):
            about = [named_on(entry), f"{known['tokens']:,}", band_cell(known)]
            rows.append(_filled([*about, "", "", f"{known['tokens_per_s']:.0f}"], header, entry))
    return _with_source(header, rows, estimates)


def _places(profiles: Profiles, measure: str) -> list[int]:
    """Which of the cases measure this."""
    return [number for number, case in enumerate(profiles[0]["cases"]) if case["measure"] == measure]


def _against(profiles: Profiles) -> list[str]:
    return [tr("vs {name}", name=subject_name(profiles[-1]))] if len(profiles) > 1 else []


def _estimated(estimates: Estimates | None, case: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each estimate that has this case, with it."""
    return [
        (entry, known)
        for entry in estimates or ()
        for known in entry["cases"]
        if (known["measure"], known["tokens"]) == (case["measure"], case["tokens"])
    ]


def _filled(cells: list[str], header: list[str], estimate: dict[str, Any]) -> list[str]:
    return cells + [""] * (len(header) - len(cells)) + [tr(estimate["source"])]


def _with_source(header: list[str], rows: list[list[str]], estimates: Estimates | None) -> Table:
    """A column that tells what was measured from what was not, where both are in the table."""
    if not estimates:
        return header, rows
    return [*header, tr("source")], [row if len(row) > len(header) else [*row, tr("measured")] for row in rows]
