"""What is known of a bundle's quality, each figure with the rows that it is of: dev, on which choices were made, and
test are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.cards.judged_rows import dev_metrics, rows_words
from edgelm.report.gather import task_of
from edgelm.report.language import tr

LOWER_IS_BETTER = ("perplexity", "byte_perplexity")


def metric_of(bundle: Mapping[str, Any]) -> str:
    """The one metric by which models of the bundle's task are compared, by its name in the manifest."""
    metric = task_of(bundle).metric
    known = {*bundle["quality"].get("bundle", {}), *(name for stage in _stages(bundle) for name in stage["after"])}
    if metric not in known and task_of(bundle).generates and "perplexity" in known:
        return "perplexity"
    return metric


def comparisons(bundle: Mapping[str, Any], answers: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """JSON-ready: every pair of figures of which the second came from the first, on the same rows; the one that says
    most first.

    Each has `what` was compared, the `metric`, `before` and `after`, `rows` in words, and the interval of the
    difference (`low`, `high`, in points), if the answers to the rows are known.
    """
    found = []
    metric = metric_of(bundle)
    none = {"low": None, "high": None}
    for entry in answers["changes"] if answers else ():
        by_name = {model["name"]: model for model in answers["models"]} if answers else {}
        named, key = ("accuracy", "accuracy") if "points" in entry else (by_name[entry["name"]].get("metric"), "score")
        if entry["name"] == bundle["label"] and named is not None and answers:
            rows = rows_words(bundle["lineage"], answers["source"], answers["rows"], answers["sha256"])
            pair = {"before": by_name[entry["against"]][key], "after": by_name[entry["name"]][key]}
            interval = {name: entry["points"][name] for name in none} if "points" in entry else none
            found.append({"what": "bundle against original", "metric": named, "rows": rows} | pair | interval)
    quality = bundle["quality"]
    original, compressed = dev_metrics(bundle["lineage"])
    eval_data = (bundle["lineage"].get("data") or {}).get("eval") or {}
    same = quality.get("source") is not None and quality.get("source") == eval_data.get("source")
    if same and metric in original and metric in quality.get("bundle", {}):
        rows = rows_words(bundle["lineage"], quality["source"], quality["samples"])
        pair = {"before": original[metric], "after": quality["bundle"][metric]}
        found.append({"what": "bundle against original", "metric": metric, "rows": rows} | pair | none)
    if metric in original and metric in compressed:
        rows = rows_words(bundle["lineage"], eval_data.get("source", "dev"), eval_data.get("rows"))
        pair = {"before": original[metric], "after": compressed[metric]}
        what = "compressed checkpoint against original"
        found.append({"what": what, "metric": metric, "rows": rows} | pair | none)
    if metric in quality.get("checkpoint", {}) and metric in quality.get("bundle", {}):
        rows = rows_words(bundle["lineage"], quality["source"], quality["samples"])
        pair = {"before": quality["checkpoint"][metric], "after": quality["bundle"][metric]}
        what = f"{bundle['precision']} bundle against its checkpoint"
        found.append({"what": what, "metric": metric, "rows": rows} | pair | none)
    return found


def points(comparison: Mapping[str, Any]) -> float:
    """What was won, in points of a hundred; of a perplexity in percent, where less is won."""
    if comparison["metric"] in LOWER_IS_BETTER:
        return float(100 * (1 - comparison["after"] / comparison["before"]))
    return float(100 * (comparison["after"] - comparison["before"]))


def points_words(comparison: Mapping[str, Any]) -> str:
    """What was won or lost, with its interval if there is one."""
    value = points(comparison)
    if abs(value) < 0.05:
        text = tr("nothing lost")
    elif comparison["metric"] in LOWER_IS_BETTER:
        text = tr("{value:.1f}% won" if value > 0 else "{value:.1f}% lost", value=abs(value))
    else:
        text = tr("{value:.1f} points won" if value > 0 else "{value:.1f} points lost", value=abs(value))
    if comparison["low"] is None:
        return text
    return text + tr(" (95 % interval {low:+.1f} to {high:+.1f})", low=comparison["low"], high=comparison["high"])


def _stages(bundle: Mapping[str, Any]) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = bundle["lineage"].get("stages") or []
    return stages
