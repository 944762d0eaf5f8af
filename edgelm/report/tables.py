"""The tables of a report, as headers and rows of text: terminal, Markdown and HTML draw the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgelm.markdown import Table
from edgelm.report.language import told, tr, tr_all
from edgelm.shapes import reached_shares, token_shares

Profiles = list[dict[str, Any]]
Estimates = list[dict[str, Any]]

_MEMORIES = {"system memory MB": "/proc/meminfo", "GPU memory MB": "NVML"}


def subject_name(profile: dict[str, Any]) -> str:
    """What a row is about: the subject, and where it ran if not here."""
    host = profile.get("host")
    return tr("{name} on {place}", name=profile["name"], place=host) if host else str(profile["name"])


def profile_of(bundle: Mapping[str, Any], profiles: Profiles) -> dict[str, Any] | None:
    """The first profile of a bundle; None: it was not measured."""
    return next((profile for profile in profiles if profile["id"] == bundle["id"]), None)


def provider_notes(profiles: list[dict[str, Any]]) -> list[str]:
    """What ran a subject and why, one line each: of those that an engine ran, or for which something better was not
    there."""
    noted = [
        profile for profile in profiles if profile.get("passed") or profile.get("provider", "cpu") not in ("", "cpu")
    ]
    return [tr("{name} ran on {what}.", name=subject_name(profile), what=told(profile["runs_on"])) for profile in noted]


def doubt_notes(profiles: list[dict[str, Any]]) -> list[str]:
    """What makes figures doubtful, one line each: of a machine, of a subject on it, and each ratio that is not
    established."""
    notes = []
    for profile in profiles:
        host = f"{profile['host']}: " if profile.get("host") else ""
        machine = profile["machine"].get("busy", {}).get("warnings", ())
        notes += [
            f"{host if words in machine else f'{subject_name(profile)}: '}{told(words)}"
            for words in profile.get("warnings", ())
        ]
        ratios = [case["ratio"] for case in profile["cases"] if case.get("ratio")]
        notes += [
            tr(
                "{name} against {other}: {ratio} is not established: {reason}.",
                name=subject_name(profile),
                other=ratio["against"],
                ratio=ratio_words(ratio),
                reason=told(ratio["reason"]),
            )
            for ratio in ratios
            if not ratio["established"]
        ]
    return list(dict.fromkeys(notes))


def minute(created: str) -> str:
    """When something was made, as people write it: of `2026-03-04T05:06:07+00:00` the day and the minute."""
    return f"{created[:16].replace('T', ' ')} UTC" if created.endswith("+00:00") else created


def runs_words(settings: dict[str, Any]) -> str:
    """How many calls were counted of each subject in each case."""
    if "prompt_runs" in settings:
        return tr(
            "{tokens} tokens and {prompts} prompts each", tokens=settings["runs"], prompts=settings["prompt_runs"]
        )
    return tr("{runs} runs each", runs=settings["runs"])


def subject_table(profiles: list[dict[str, Any]]) -> Table:
    """One row a subject: what it weighs, and what the machine's memory takes and its sensors say, where that could be
    read."""
    header = tr_all("subject", "kind", "precision", "size MB", "load ms", "peak memory MB", "tokenize ms")
    memories = [title for title in _MEMORIES if any(_memory_cell(profile, title) for profile in profiles)]
    powered = any(profile.get("power") for profile in profiles)
    rows = []
    for profile in profiles:
        tokenize = "" if profile["tokenization_ms"] is None else f"{profile['tokenization_ms']:.3f}"
        figures = [
            f"{profile['size_mb']:.1f}",
            f"{profile['load_ms']:.0f}",
            f"{profile['peak_memory_mb']:.0f}",
            tokenize,
        ]
        rows.append([subject_name(profile), profile["kind"], profile["precision"], *figures])
        rows[-1] += [_memory_cell(profile, title) for title in memories] + (_power_cells(profile) if powered else [])
    energy = tr("mJ per token" if "measure" in profiles[0]["cases"][0] else "mJ per call")
    header += [tr(title) for title in memories]
    return header + ([*tr_all("power W", "idle W"), energy, tr("read from")] if powered else []), rows


def _memory_cell(profile: dict[str, Any], title: str) -> str:
    """In use while it answers, and how much more that is than before; of several GPUs, the one on which that is
    most."""
    found = [entry for entry in profile.get("memory", ()) if entry["source"] == _MEMORIES[title]]
    if not found:
        return ""
    most = max(found, key=lambda entry: float(entry["rise_mb"]))
    values = {"busy": most["busy_mb"], "total": most["total_mb"], "rise": most["rise_mb"]}
    return tr("{busy:.0f} of {total:.0f} ({rise:+.0f})", **values)


def _power_cells(profile: dict[str, Any]) -> list[str]:
    power = profile.get("power")
    if not power:
        return ["", "", "", tr("no sensor")]
    return [f"{power['busy_w']:.2f}", f"{power['idle_w']:.2f}", f"{power['mj_per_call']:.3g}", power["source"]]


def estimates_note(estimates: Estimates) -> str:
    """What figures that nobody measured are."""
    names = ", ".join(dict.fromkeys(entry["title"] for entry in estimates))
    based = "; ".join(dict.fromkeys(told(entry["provenance"]) for entry in estimates))
    if "measure" in estimates[0]["cases"][0]:
        return tr("Estimated for {names}, not measured: {based}.", names=names, based=based)
    return tr(
        "Estimated for {names}, not measured: from the graph's operations, bytes and launches and each device's "
        "figures. Eight of ten measurements are expected from low to high. Constants fitted to {based}.",
        names=names,
        based=based,
    )


def latency_table(profiles: list[dict[str, Any]], estimates: Estimates | None = None) -> Table:
    """One row a subject and case: how fast it is, and how many times faster than the last subject given, with 95 %
    intervals.

    Args:
        estimates: of the same cases, for devices that are not there: rows with the p50 alone, from low to high, and a
            column that tells them apart.
    """
    header = tr_all("subject", "batch", "tokens", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "mean ms", "texts/s")
    if len(profiles) > 1:
        header.append(tr("vs {name}", name=subject_name(profiles[-1])))
    rows = []
    for number, case in enumerate(profiles[0]["cases"]):
        for profile in profiles:
            here = profile["cases"][number]
            figures = [p50_cell(here), *(f"{here[name]:.3f}" for name in ("p90_ms", "p95_ms", "p99_ms", "mean_ms"))]
            row = [
                subject_name(profile),
                str(case["batch"]),
                tr("as is") if case["sequence"] is None else str(case["sequence"]),
                *figures,
                f"{here['throughput_per_s']:.0f}",
            ]
            if len(profiles) > 1:
                row.append(ratio_cell(here, profiles[-1]["cases"][number]))
            rows.append(row)
        rows += [_estimated_row(entry, entry["cases"][number], len(header)) for entry in estimates or ()]
    if not estimates:
        return header, rows
    return [*header, tr("source")], [row if len(row) > len(header) else [*row, tr("measured")] for row in rows]


def p50_cell(case: dict[str, Any]) -> str:
    """The median and its interval."""
    interval = case.get("p50_interval_ms")
    return f"{case['p50_ms']:.3f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")


def ratio_cell(case: dict[str, Any], last: dict[str, Any]) -> str:
    """How many times as fast as the last subject's case this one is."""
    ratio = case.get("ratio")
    if not ratio:  # the last subject itself, or a profile of an earlier version
        return f"{last['p50_ms'] / case['p50_ms']:.2f}x"
    words = ratio_words(ratio)
    return words if ratio["established"] else tr("{ratio}, not established", ratio=words)


def ratio_words(ratio: dict[str, Any]) -> str:
    """How many times as fast, with the interval."""
    return f"{ratio['p50']:.2f}x ({ratio['low']:.2f}-{ratio['high']:.2f})"


def _estimated_row(estimate: dict[str, Any], case: dict[str, Any], width: int) -> list[str]:
    name = tr("{name} on {place}", name=estimate["name"], place=estimate["device"])
    known = [name, str(case["batch"]), str(case["sequence"]), band_cell(case)]
    return known + [""] * (width - len(known)) + [tr(estimate["source"])]


def band_cell(case: dict[str, Any]) -> str:
    """An estimated p50, and from where to where a measurement is expected."""
    return tr("{p50:.3g} ({low:.3g} to {high:.3g})", p50=case["p50_ms"], low=case["low_ms"], high=case["high_ms"])


def operator_table(profile: dict[str, Any]) -> Table:
    """One row an operator, the slowest first."""
    header = tr_all("operator", "nodes", "ms per call", "share")
    return header, [
        [row["name"], str(row["nodes"]), f"{row['ms_per_call']:.4f}", f"{row['share']:.1%}"]
        for row in profile["operators"]
    ]


def quality_table(profile: dict[str, Any]) -> Table:
    """Metrics of the checkpoint and the bundle, and parity with PyTorch, from the manifest."""
    manifest = profile["manifest"]
    graphs = manifest.get("graphs", [manifest])  # a profile of an older edgelm has a bundle's one graph there
    quality = manifest.get("quality") or {}
    rows = [
        [name, f"{value:.4f}", f"{quality['bundle'][name]:.4f}"]
        for name, value in quality.get("checkpoint", {}).items()
    ]
    for parity in filter(None, (graph.get("parity") for graph in graphs)):
        changed = tr("changed answers on {count} texts", count=parity["samples"])
        rows.append([changed, "", f"{parity['changed']:.2%}"])
        rows.append([tr("largest error of an output"), "", f"{parity['max_error']:.3g}"])
    return tr_all("measure", "checkpoint", "bundle"), rows


def stage_table(profile: dict[str, Any]) -> Table:
    """What was done to the checkpoint, from the manifest's lineage."""
    lineage = profile["manifest"].get("lineage") or {}
    stages, hidden = lineage.get("stages", []), lineage.get("hidden")
    rows = [
        [
            tr("hidden ({kept} of {original} dimensions)", kept=hidden["kept"], original=hidden["original"])
            if stage["stage"] == "hidden" and hidden
            else stage["stage"],
            f"{stage['parameters'] / 1e6:.2f}M",
            ", ".join(f"{name} {value:.4f}" for name, value in stage["after"].items()),
            tr("{seconds:.0f} s", seconds=stage["seconds"]),
        ]
        for stage in stages
    ]
    return tr_all("stage", "weights", "metrics after", "time"), rows


def layer_table(profile: dict[str, Any]) -> Table:
    """What is left of every layer, of how much, and what it costs where a budget was asked for; from the lineage.

    Layers that are gone stand there too. Where the lineage does not say what there was (bundles of earlier versions),
    bars are beside the widest.
    """
    lineage = profile["manifest"].get("lineage") or {}
    layers, costs = lineage.get("layers", []), lineage.get("costs") or {}
    unit = f", {costs['unit']}" if costs else ""
    priced = {
        name: title for name, title in (("attention", "attention"), ("ffn", "FFN"), ("norms", "norms")) if name in costs
    }
    header = [tr("layer"), tr("heads"), "", tr("FFN channels"), ""]
    shares = token_shares([bool(layer.get("halves")) for layer in layers])
    header += [tr("reads of the tokens")] if min(shares, default=1.0) < 1 else []
    reached = reached_shares([layer.get("left") or 0.0 for layer in layers])
    header += [tr("texts that get there")] if min(reached, default=1.0) < 1 else []
    header += [f"{tr(title)}{unit}" for title in priced.values()]
    widest = {name: max([layer[name] for layer in layers] + [1]) for name in ("heads", "ffn")}
    before = dict(enumerate(lineage.get("original_layers", []) if layers else []))
    left = places_by_origin(layers)
    rows = []
    for number in sorted({*left, *before}):
        cells, index = [str(number)], left.get(number)
        for name in ("heads", "ffn"):
            kept, most = 0 if index is None else layers[index][name], before[number][name] if number in before else None
            cells += [str(kept) if most is None else f"{kept}/{most}", bar(kept / (most or widest[name]))]
        for column in (shares, reached):
            if min(column, default=1.0) < 1:
                cells.append("" if index is None else f"{column[index]:.0%}")
        rows.append([*cells, *("0" if index is None else f"{costs[name][index]:.3g}" for name in priced)])
    return header, rows


def places_by_origin(layers: Sequence[dict[str, Any]]) -> dict[int, int]:
    """Where the layers of a lineage stand, by their number in the model that it all began with."""
    return {index if layer.get("origin") is None else layer["origin"]: index for index, layer in enumerate(layers)}


def bar(share: float, width: int = 12) -> str:
    """A share from 0 to 1 as a bar."""
    filled = round(share * width)
    return "█" * filled + "░" * (width - filled)
