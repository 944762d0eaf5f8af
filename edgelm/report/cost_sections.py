"""What answers cost: money, energy and carbon dioxide, as parts of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.markdown import Table
from edgelm.report.language import told, tr, tr_all
from edgelm.report.section import Section


def price_section(prices: Mapping[str, Any] | None) -> Section:
    """What `estimate_prices` gives, as words and tables."""
    title = tr("Money, estimated")
    if prices is None:
        return Section(title)
    subjects = [
        [entry["name"], f"{entry['mean_ms']:.3f}", f"{entry['per_million']:.4g}"] for entry in prices["subjects"]
    ]
    savings = [
        [
            entry["name"],
            entry["against"],
            f"{entry['training_hours']:.2f}",
            f"{entry['training']:.4g}",
            f"{entry['a_year']:.4g}",
            tr("never") if entry["days_to_pay"] is None else f"{entry['days_to_pay']:.2g}",
        ]
        for entry in prices["savings"]
    ]
    calls = prices["calls_per_day"]
    text = tr(
        "Estimated, not measured: mean times of the profiles at {price:g} an hour of the machine, in the currency of "
        "that price, with the machine busy all the time and one call after the other{days}. Training is paid at the "
        "same price.",
        price=prices["price_per_hour"],
        days="" if calls is None else tr("; {calls:,.0f} calls a day, 365 days a year", calls=calls),
    )
    saved = tr_all(
        "bundle", "against", "hours of training", "training", "saved in the first year", "days until it pays"
    )
    tables: tuple[tuple[str, Table], ...] = (
        (tr("A million calls, estimated"), (tr_all("model", "mean ms of a call", "price of a million"), subjects)),
        (tr("What compressing saves, estimated"), (saved, savings)),
    )
    return Section(title, (text,), tables=tables)


def energy_section(energy: Mapping[str, Any] | None) -> Section:
    """What `estimate_energy` gives, as words and tables."""
    title = tr("Energy and carbon")
    if energy is None:
        return Section(title)
    grid = energy["grid"]
    header = tr_all("model", "joules of a call", "W", "read from", "kWh of a million")
    subjects = [
        [
            entry["name"],
            f"{entry['joules']:.3g}",
            f"{entry['watts']:.3g}",
            f"{told(entry['from'])}, {tr(entry['source'])}",
            f"{entry['kwh_per_million']:.3g}",
            *([] if grid is None else [f"{entry['grams_per_million']:.3g}"]),
        ]
        for entry in energy["subjects"]
    ]
    savings = [
        [
            entry["name"],
            entry["against"],
            f"{entry['training_kwh']:.3g}",
            f"{entry['kwh_a_year']:.3g}",
            *([] if grid is None else [f"{entry['kg_a_year']:.3g}"]),
            tr("never") if entry["days_to_repay"] is None else f"{entry['days_to_repay']:.2g}",
        ]
        for entry in energy["savings"]
    ]
    carbon = [] if grid is None else [tr("g CO2e of a million")]
    saved = tr_all("bundle", "against", "kWh of training", "kWh saved in the first year")
    saved += [*([] if grid is None else [tr("kg CO2e saved")]), tr("days until training is repaid")]
    tables: tuple[tuple[str, Table], ...] = (
        (tr("Energy of calls"), (header + carbon, subjects)),
        (tr("What compressing saves, estimated"), (saved, savings)),
    )
    return Section(title, _energy_words(energy), tables=tables)


def _energy_words(energy: Mapping[str, Any]) -> tuple[str, ...]:
    sources = {entry["source"] for entry in energy["subjects"]}
    words = []
    if "measured" in sources:
        words.append(
            tr("Measured: all that the sensor saw while the model answered without a pause, idle power included.")
        )
    if "estimated" in sources:
        words.append(tr("Estimated, not measured: the power of the machine times the mean time of a call."))
    if (grid := energy["grid"]) is not None:
        where = tr("as it was given")
        if grid["country"]:
            values = {name: grid[name] for name in ("country", "year", "source")}
            where = tr("{country}, {year}, by {source}", **values)
        values = {"grams": grid["grams_per_kwh"], "where": where}
        words.append(tr("A kilowatt-hour stands for {grams:.4g} g CO2e ({where}); estimated.", **values))
    if energy["savings"]:
        words.append(
            tr(
                "Saved, estimated: {calls:,.0f} calls a day, 365 days a year, and a machine that sleeps or does other "
                "work in the time that is won; training is taken to have drawn what the original draws.",
                calls=energy["calls_per_day"],
            )
        )
    return tuple(words)
