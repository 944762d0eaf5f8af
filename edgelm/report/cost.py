"""At what price: what a million calls of a bundle take in money and energy, in the first lines of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.report.energy import energy_of
from edgelm.report.language import tr
from edgelm.report.price import per_million

Cost = Mapping[str, Any]


def cost_of(
    label: str,
    mine: Mapping[str, Any],
    other: Mapping[str, Any] | None,
    prices: Mapping[str, Any] | None,
    energy: Mapping[str, Any] | None,
) -> dict[str, Any] | None:
    """JSON-ready: `money` and `energy` of a million calls, each None where it is not known; None: neither is.

    Args:
        label: of the bundle.
        mine, other: its profile, and that of what it is compared with.
        prices, energy: as `estimate_prices` and `estimate_energy` give them.
    """
    money = None if prices is None else _money(label, mine, other, prices)
    power = None if energy is None else _energy(label, mine, other, energy)
    return None if money is None and power is None else {"money": money, "energy": power}


def _money(
    label: str, mine: Mapping[str, Any], other: Mapping[str, Any] | None, prices: Mapping[str, Any]
) -> dict[str, Any]:
    rate = prices["price_per_hour"]
    return {
        "source": prices["source"],
        "price_per_hour": rate,
        "per_million": per_million(mine, rate),
        "against_per_million": None if other is None else per_million(other, rate),
        "calls_per_day": prices["calls_per_day"],
        "saved_a_year": _saved(label, prices, "a_year"),
    }


def _energy(
    label: str, mine: Mapping[str, Any], other: Mapping[str, Any] | None, energy: Mapping[str, Any]
) -> dict[str, Any] | None:
    grams = None if energy["grid"] is None else energy["grid"]["grams_per_kwh"]
    here = energy_of(mine, energy["watts"], grams)
    there = None if other is None else energy_of(other, energy["watts"], grams)
    if here is None:
        return None
    comparable = there is not None and there["from"] == here["from"]
    values = {"source": here["source"], "calls_per_day": energy["calls_per_day"]}
    for name in ("kwh_per_million", "grams_per_million"):
        values |= {name: here[name], f"against_{name}": there[name] if there and comparable else None}
    return values | {"kwh_saved_a_year": _saved(label, energy, "kwh_a_year")}


def _saved(label: str, values: Mapping[str, Any], what: str) -> float | None:
    return next((float(entry[what]) for entry in values["savings"] if entry["name"] == label), None)


def cost_words(cost: Cost | None) -> str:
    """One sentence: what a million calls take and what compressing saves, or which options would say it."""
    if cost is None:
        return tr("What calls cost is not known: give --price-per-hour, or --watts where no sensor read the power.")
    parts = [*_money_words(cost["money"]), *_energy_words(cost["energy"])]
    saved = _saved_words(cost)
    return tr("A million calls take {parts}{saved}.", parts=tr(", ").join(parts), saved=saved)


def _money_words(money: Cost | None) -> list[str]:
    if money is None:
        return []
    values = {"price": money["per_million"], "before": money["against_per_million"], "rate": money["price_per_hour"]}
    if values["before"] is None:
        return [tr("{price:.3g} in money (estimated, at {rate:g} an hour)", **values)]
    return [tr("{price:.3g} instead of {before:.3g} in money (estimated, at {rate:g} an hour)", **values)]


def _energy_words(energy: Cost | None) -> list[str]:
    if energy is None:
        return []
    values = {"kwh": energy["kwh_per_million"], "before": energy["against_kwh_per_million"]}
    values["source"] = tr(energy["source"])
    words = [tr("{kwh:.3g} kWh ({source})", **values)]
    if values["before"] is not None:
        words = [tr("{kwh:.3g} kWh instead of {before:.3g} kWh ({source})", **values)]
    grams = {"grams": energy["grams_per_million"], "before": energy["against_grams_per_million"]}
    if grams["grams"] is None:
        return words
    if grams["before"] is None:
        return [*words, tr("{grams:.3g} g CO2e (estimated)", **grams)]
    return [*words, tr("{grams:.3g} g instead of {before:.3g} g CO2e (estimated)", **grams)]


def _saved_words(cost: Cost) -> str:
    money, energy = cost["money"] or {}, cost["energy"] or {}
    saved = []
    if money.get("saved_a_year") is not None:
        saved.append(tr("{money:.4g} in money", money=money["saved_a_year"]))
    if energy.get("kwh_saved_a_year") is not None:
        saved.append(tr("{kwh:.3g} kWh", kwh=energy["kwh_saved_a_year"]))
    if not saved:
        return ""
    calls = money.get("calls_per_day") or energy.get("calls_per_day")
    values = {"saved": tr(" and ").join(saved), "calls": calls}
    return tr("; at {calls:,.0f} calls a day the first year saves {saved}, training taken off (estimated)", **values)


def cost_fact(cost: Cost | None) -> dict[str, str]:
    """The same as a figure in few words: money, or else energy."""
    if cost is None:
        return {"name": tr("price"), "figure": tr("not known"), "note": ""}
    if (money := cost["money"]) is not None:
        values = {"before": money["against_per_million"], "rate": money["price_per_hour"]}
        note = tr("a million calls at {rate:g} an hour", **values)
        if values["before"] is not None:
            note = tr("a million calls at {rate:g} an hour, instead of {before:.3g}", **values)
        name = tr("price, {source}", source=tr(money["source"]))
        return {"name": name, "figure": f"{money['per_million']:.3g}", "note": note}
    energy = cost["energy"]
    note, before = tr("a million calls"), energy["against_kwh_per_million"]
    if before is not None:
        note = tr("a million calls, instead of {before:.3g} kWh", before=before)
    name = tr("energy, {source}", source=tr(energy["source"]))
    return {"name": name, "figure": f"{energy['kwh_per_million']:.3g} kWh", "note": note}
