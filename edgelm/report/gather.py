"""What a report is made of: bundles with what they say of themselves, profiles from files, answers to rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm.data.dataset import Dataset
from edgelm.files.places import told_place, told_places
from edgelm.profile.result import Profile, read_profile_values
from edgelm.report.answers import Answerer, Answers, by_label, check_comparable, compare, confusion, truths
from edgelm.report.asking import ask, right_words
from edgelm.report.calibration import expected_calibration_error, reliability_bins
from edgelm.report.robustness import measure_changes, measure_lengths
from edgelm.runtime import open_bundle
from edgelm.runtime.manifest import CARD_FILE, SBOM_FILE
from edgelm.runtime.verify import verify
from edgelm.tasks.table import task_from_dict
from edgelm.tasks.task import Task

_KEPT = ("name", "created", "task", "family", "precision", "device", "quality", "calibration", "lineage", "tools")


def describe_bundle(path: str | Path, *, replay: bool = True) -> dict[str, Any]:
    """JSON-ready: what a bundle says of itself, its size, and what verifying it here gave.

    Args:
        replay: run its golden samples.

    Raises:
        BundleError: it cannot be read.
    """
    bundle = open_bundle(path)
    values = bundle.manifest.to_dict()
    found = verify(path, replay=replay)
    checks = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in found.checks]
    graphs = [{"name": graph["name"], "parity": graph.get("parity")} for graph in values["graphs"]]
    kept = told_places({name: values[name] for name in _KEPT})
    measured = {"size_mb": bundle.size_bytes / 1e6, "graphs": graphs, "verified": {"ok": found.ok, "checks": checks}}
    return kept | measured | {"path": told_place(path), "id": bundle_id(values)}


def bundle_id(manifest: Mapping[str, Any]) -> str:
    """What two manifests have in common that are of the same model: a hash over its files, in short. The card and the
    bill that lists it are left out: what a profile measured is written into them afterwards."""
    told = (CARD_FILE, SBOM_FILE)
    listed = (entry for entry in manifest.get("files", ()) if entry["path"] not in told)
    files = sorted(f"{entry['path']} {entry['sha256']}" for entry in listed)
    return hashlib.sha256("\n".join([str(manifest.get("name")), *files]).encode()).hexdigest()[:16]


def read_profile_files(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What several files of profiles hold, each as `read_profiles` gives it, under names of their own.

    Raises:
        InputError: as `read_profiles`.
    """
    found = []
    named: set[str] = set()
    for path in {path.resolve(): path for path in paths}.values():
        name = told_place(path)
        name = name if name not in named else f"{name} ({len(named) + 1})"
        named.add(name)
        found.append(read_profiles(path, name=name))
    return found


def read_profiles(path: Path, *, name: str) -> dict[str, Any]:
    """What a file of `edgelm profile --output` holds: profiles, and the estimates and texts beside them.

    Each profile gets the `id` of its bundle in the place of its manifest, and the `name` of the file.

    Raises:
        InputError: no such file, or no profiles in it.
    """
    values = read_profile_values(path)
    found = []
    for entry in values["profiles"]:
        read = Profile.from_dict(entry).to_dict()
        manifest = read.pop("manifest")
        found.append(told_places(read) | {"id": bundle_id(manifest) if manifest else None, "file": name})
    return {"profiles": found, "estimates": values.get("estimates") or [], "texts": values.get("texts")}


def judge_answers(
    task: Task,
    rows: Dataset,
    bundles: Mapping[str, Answerer],
    original: tuple[str, Answerer] | None,
) -> dict[str, Any]:
    """JSON-ready: what each model answers to the rows, and what changed from the original's answers to each bundle's.

    Args:
        rows: with labels as the task has them, or without.
        bundles: what answers, by name.
        original: name and what answers; None: nothing is compared.

    Raises:
        UsageError: as `check_comparable`.
    """
    check_comparable(task, original=original is not None)
    truth = truths(task, rows)
    askers = ([original] if original else []) + list(bundles.items())
    answers = [ask(name, answerer, task, rows) for name, answerer in askers]
    models = [_judged(task, found, answerer, rows, truth) for found, (_, answerer) in zip(answers, askers, strict=True)]
    shown = right_words(task, rows)
    compared = answers[1:] if original else []
    changes = [compare(answers[0], found, rows, truth, shown=shown, written=task.generates) for found in compared]
    return {
        "source": told_place(rows.source),
        "sha256": rows.fingerprint(),
        "rows": len(rows),
        "labelled": bool(truth or shown),
        "original": original[0] if original else None,
        "models": models,
        "changes": changes,
    }


def _judged(task: Task, answers: Answers, answerer: Answerer, rows: Dataset, truth: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {"name": answers.name, "accuracy": answers.accuracy}
    if truth:
        values |= {"by_label": by_label(answers, truth), "confusion": confusion(answers, truth)}
        values["by_length"] = measure_lengths(answers, rows)
    if truth and answers.scores:
        bins = reliability_bins(answers.scores, answers.right)
        values["calibration"] = {"error": expected_calibration_error(bins), "bins": [list(each) for each in bins]}
    if answers.figure is not None:
        values |= dict(zip(("metric", "score"), answers.figure, strict=True))
    if task.kind == "text-classification" and not answers.numbers:  # others answer in words of the text, which changes
        values["robustness"] = measure_changes(answerer, answers, rows, truth)
    return values


def task_of(bundle: Mapping[str, Any]) -> Task:
    """The task of a bundle that was described."""
    return task_from_dict(bundle["task"])
