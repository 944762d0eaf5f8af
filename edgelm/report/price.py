"""What answers cost and what compressing saves in money, calculated from measured times and a price that the reader
gives: marked as estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgelm import answer_costs
from edgelm.answer_costs import DAYS
from edgelm.report.beside import pairs
from edgelm.report.tables import Profiles, subject_name


def estimate_prices(
    bundles: Sequence[Mapping[str, Any]],
    profiles: Profiles,
    *,
    price_per_hour: float,
    calls_per_day: float | None,
) -> dict[str, Any]:
    """JSON-ready: the price of a million answers by each measured subject and, with a number of calls, what each
    bundle saves a year against what it was measured beside, with the hours of its training paid for at the same price.

    Args:
        price_per_hour: of the machine, in any currency; all its threads answer, one call after the other.
        calls_per_day: answers that are needed.
    """
    rows = [
        {
            "name": subject_name(profile),
            "mean_ms": answer_ms(profile),
            "per_million": per_million(profile, price_per_hour),
        }
        for profile in profiles
        if profile["cases"]
    ]
    savings = []
    for bundle, mine, other in pairs(bundles, profiles):
        if mine is None or other is None or calls_per_day is None:
            continue
        hours = training_hours(bundle)
        saved = (per_million(other, price_per_hour) - per_million(mine, price_per_hour)) * calls_per_day / 1e6
        training = hours * price_per_hour
        entry = {
            "name": bundle["label"],
            "against": other["name"],
            "training": training,
            "training_hours": hours,
        }
        savings.append(
            entry | {"a_year": saved * DAYS - training, "days_to_pay": training / saved if saved > 0 else None}
        )
    given = {"price_per_hour": price_per_hour, "calls_per_day": calls_per_day}
    return given | {"source": "estimated", "subjects": rows, "savings": savings}


def training_hours(bundle: Mapping[str, Any]) -> float:
    """What the stages took that made a bundle's checkpoint."""
    return float(sum(stage["seconds"] for stage in bundle["lineage"].get("stages") or []) / 3600)


def answer_ms(profile: Mapping[str, Any]) -> float:
    """Of one answer in the first case that was timed, on average."""
    case = profile["cases"][0]
    return float(case["mean_ms"] / (case.get("batch") or 1))


def per_million(profile: Mapping[str, Any], price_per_hour: float) -> float:
    """The price of a million answers."""
    return answer_costs.per_million(answer_ms(profile), price_per_hour)
