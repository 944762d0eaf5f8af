"""Writes a report as HTML, Markdown and JSON, all from the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelm.choices import Language
from edgelm.files.output import staged_output
from edgelm.markdown import Table, as_markdown, markdown_table
from edgelm.report.cuts import gone_table, kept_table
from edgelm.report.estimates import estimates_html, estimates_markdown
from edgelm.report.generation import speed_sections, writes
from edgelm.report.language import speaking, thread_words, told, tr
from edgelm.report.page import render_page
from edgelm.report.report import Report
from edgelm.report.speed_charts import operator_chart, speed_charts
from edgelm.report.tables import (
    Estimates,
    Profiles,
    doubt_notes,
    estimates_note,
    layer_table,
    minute,
    operator_table,
    provider_notes,
    quality_table,
    runs_words,
    stage_table,
    subject_table,
)
from edgelm.report.texts import Texts, example_lines, example_parts, text_sections


def write_reports(
    report: Report,
    *,
    html: Path | None = None,
    markdown: Path | None = None,
    json_file: Path | None = None,
    language: Language = "en",
    overwrite: bool = False,
) -> list[Path]:
    """Write the files that were asked for and return their paths; without profiles, pages say that nothing was
    measured.

    Args:
        json_file: all figures and samples, as `edgelm profile --json` and `edgelm estimate --json` print them.
        language: of the HTML page and of Markdown.

    Raises:
        OutputExistsError, ResourceError: as `staged_output`.
        MissingExtraError: HTML without jinja2 and matplotlib.
    """
    texts: list[tuple[Path, str | bytes]] = []
    if html is not None:
        page = (
            render_html(report.profiles, report.estimates, report.texts, language=language)
            if report.profiles
            else estimates_html(report.estimates, language=language)
        )
        texts.append((html, page))
    if markdown is not None:
        page = (
            render_markdown(report.profiles, report.estimates, report.texts, language=language)
            if report.profiles
            else estimates_markdown(report.estimates, language=language)
        )
        texts.append((markdown, page))
    if json_file is not None:
        texts.append((json_file, report.to_json()))
    return write_texts(texts, overwrite=overwrite)


def write_texts(texts: Sequence[tuple[Path, str | bytes]], *, overwrite: bool = False) -> list[Path]:
    """Write finished texts and pictures to their files, and return the paths.

    Raises:
        OutputExistsError, ResourceError: as `staged_output`.
    """
    for path, text in texts:
        with staged_output(path, overwrite=overwrite) as aside:
            aside.write_bytes(text.encode() if isinstance(text, str) else text)
    return [path for path, _ in texts]


def render_markdown(
    profiles: Profiles, estimates: Estimates | None = None, texts: Texts | None = None, *, language: Language = "en"
) -> str:
    """The tables in Markdown, and what was written of models that write."""
    with speaking(language):
        parts = [
            f"# {profiles[0]['name']}",
            "",
            _where(profiles),
            "",
            *(f"{note}\n" for note in _notes(profiles, estimates)),
        ]
        for title, table in _sections(profiles, estimates, texts):
            if table[1]:
                parts += markdown_table(title, table)
        return as_markdown(parts + example_lines(texts))


def render_html(
    profiles: Profiles, estimates: Estimates | None = None, texts: Texts | None = None, *, language: Language = "en"
) -> str:
    """One page with style and drawings inside: it needs no network and no other file.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    with speaking(language):
        sections = [
            {"title": title, "header": header, "rows": rows}
            for title, (header, rows) in _sections(profiles, estimates, texts)
            if rows
        ]
        return render_page(
            "profile.html",
            title=profiles[0]["name"],
            where=_where(profiles),
            notes=_notes(profiles, estimates),
            sections=sections,
            charts=[*speed_charts(profiles), *operator_chart(profiles[0])],
            places=_places(profiles),
            examples=example_parts(texts),
        )


def _notes(profiles: Profiles, estimates: Estimates | None) -> list[str]:
    doubts = [tr("Warning: {words}", words=words) for words in doubt_notes(profiles)]
    return provider_notes(profiles) + doubts + ([estimates_note(estimates)] if estimates else [])


def _sections(profiles: Profiles, estimates: Estimates | None, texts: Texts | None) -> list[tuple[str, Table]]:
    kept = [(tr("What was kept"), layer_table(profiles[0]))]
    if writes(profiles):
        left = (tr("What is left of each layer"), kept_table(profiles[0]))
        kept = [(tr("What went"), gone_table(profiles[0])), left]
    return [
        (tr("Size, load, memory"), subject_table(profiles)),
        *speed_sections(profiles, estimates),
        (tr("Quality and parity with PyTorch"), quality_table(profiles[0])),
        (tr("How it was made"), stage_table(profiles[0])),
        *kept,
        *text_sections(texts),
        (tr("Time by operator"), operator_table(profiles[0])),
    ]


def _where(profiles: Profiles) -> str:
    return " ".join(_place(profile) for profile in _places(profiles))


def _places(profiles: Profiles) -> Profiles:
    """The first profile of each machine."""
    return list({profile.get("host"): profile for profile in reversed(profiles)}.values())[::-1]


def _place(profile: dict[str, Any]) -> str:
    machine, settings = profile["machine"], profile["settings"]
    instructions = ", ".join(machine["instructions"]) or tr("none of note")
    host = f"{profile['host']}, " if profile.get("host") else ""
    return tr(
        "{source} on {host}{cpu} ({cores} cores, {instructions}), {threads}, {runs}, interleaved; texts: "
        "{texts}; {created}.",
        source=tr(profile["source"].capitalize()),
        host=host,
        cpu=machine["cpu"],
        cores=machine["cores"],
        instructions=instructions,
        threads=thread_words(settings["threads"]),
        runs=runs_words(settings),
        texts=told(Path(settings["texts"]).name),
        created=minute(profile["created"]),
    )
