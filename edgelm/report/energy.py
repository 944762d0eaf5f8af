"""What answers take of energy and carbon dioxide, and what compressing saves of both: by a sensor where one was read,
else estimated from the power of the machine, and marked so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgelm.answer_costs import DAYS, JOULES_PER_KWH, answer_joules
from edgelm.device import load_device
from edgelm.files.shipped import shipped_names
from edgelm.report.beside import pairs
from edgelm.report.grid import Grid
from edgelm.report.price import answer_ms, training_hours
from edgelm.report.tables import Profiles, subject_name


def estimate_energy(
    bundles: Sequence[Mapping[str, Any]],
    profiles: Profiles,
    *,
    watts: float | None = None,
    grid: Grid | None = None,
    calls_per_day: float | None = None,
) -> dict[str, Any] | None:
    """JSON-ready: joules of an answer by each subject of whose power something is known, and with a number of calls
    what each bundle saves a year against what it was measured beside; None: nothing is known of any.

    Args:
        watts: of the measured machine, for subjects that no sensor measured; None: the largest power mode of the device
            that the machine was said to be, if it has any.
        grid: how much carbon dioxide a kilowatt-hour stands for; None: it is not told.
        calls_per_day: answers that are needed.
    """
    grams = None if grid is None else grid.grams_per_kwh
    known = {id(profile): found for profile in profiles if (found := energy_of(profile, watts, grams))}
    if not known:
        return None
    subjects = [{"name": subject_name(profile)} | known[id(profile)] for profile in profiles if id(profile) in known]
    savings = []
    for bundle, mine, other in pairs(bundles, profiles):
        if mine is None or other is None or calls_per_day is None:
            continue
        if id(mine) not in known or id(other) not in known or known[id(mine)]["from"] != known[id(other)]["from"]:
            continue  # a package of a CPU and a whole board are no two sides of one comparison
        savings.append(_saved(bundle, (mine, known[id(mine)]), (other, known[id(other)]), grid, calls_per_day))
    return {
        "watts": watts,
        "grid": None if grid is None else asdict(grid),
        "calls_per_day": calls_per_day,
        "subjects": subjects,
        "savings": savings,
    }


def energy_of(profile: Mapping[str, Any], watts: float | None, grams_per_kwh: float | None) -> dict[str, Any] | None:
    """Watts, joules of an answer, where they are from, and what a million answers take; None: nothing is known."""
    power = _power(profile, watts) if profile["cases"] else None
    if power is None:
        return None
    kwh = power["joules"] * 1e6 / JOULES_PER_KWH
    return power | {"kwh_per_million": kwh, "grams_per_million": None if grams_per_kwh is None else kwh * grams_per_kwh}


def _power(profile: Mapping[str, Any], watts: float | None) -> dict[str, Any] | None:
    """Watts, joules of an answer, and where they are from; None: nothing is known."""
    case, sensor = profile["cases"][0], profile.get("power")
    if sensor:
        joules = sensor["mj_per_call"] / 1000 / (case.get("batch") or 1)
        return {"watts": sensor["busy_w"], "joules": joules, "source": "measured", "from": sensor["source"]}
    where = "given"
    if watts is None:
        watts = _largest_mode(profile.get("device"))
        where = f"the largest power mode of {profile.get('device')}"
    if watts is None:
        return None
    return {"watts": watts, "joules": answer_joules(answer_ms(profile), watts), "source": "estimated", "from": where}


def _largest_mode(device: str | None) -> float | None:
    """Of a device that edgelm ships; a profile may name any other, which says nothing here."""
    return max(load_device(device).power_modes_w, default=None) if device in shipped_names("devices") else None


def _saved(
    bundle: Mapping[str, Any],
    mine: tuple[Mapping[str, Any], Mapping[str, Any]],
    other: tuple[Mapping[str, Any], Mapping[str, Any]],
    grid: Grid | None,
    calls_per_day: float,
) -> dict[str, Any]:
    """What a bundle saves in its first year; its training is taken to have drawn what the original draws."""
    a_day = (other[1]["joules"] - mine[1]["joules"]) * calls_per_day / JOULES_PER_KWH
    training = training_hours(bundle) * other[1]["watts"] / 1000
    a_year = a_day * DAYS - training
    return {
        "name": bundle["label"],
        "against": other[0]["name"],
        "source": "estimated",
        "training_kwh": training,
        "kwh_a_year": a_year,
        "kg_a_year": None if grid is None else a_year * grid.grams_per_kwh / 1000,
        "days_to_repay": training / a_day if a_day > 0 else None,
    }
