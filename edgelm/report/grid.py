"""How much carbon dioxide a kilowatt-hour of a country stands for, by the table that codecarbon carries.

codecarbon itself is never imported: its package needs pandas and clients of its own service, of which a report has no
use. Its table has one year for each country, by Our World in Data, with the year.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgelm.errors import MissingExtraError, UsageError, install_extra
from edgelm.hardware.machine import installed_version
from edgelm.limits import read_json

_TABLE = "data/private_infra/global_energy_mix.json"


@dataclass(frozen=True)
class Grid:
    """The electricity of a country, or what was given in its place.

    Attributes:
        grams_per_kwh: of carbon dioxide and what warms like it.
        country: its name; empty: the figure was given.
        year: that the figure is of.
        source: where it is from.
    """

    grams_per_kwh: float
    country: str = ""
    year: int | None = None
    source: str = "given"


def find_grid(country: str) -> Grid:
    """The electricity of a country.

    Args:
        country: its code of three letters (ISO 3166, such as DEU), or its name in English.

    Raises:
        MissingExtraError: codecarbon is not installed, or another release has no such table.
        UsageError: no such country.
    """
    wanted = country.strip().casefold()
    named = {}
    for code, entry in _table().items():
        name, grams = str(entry.get("country_name", code)), entry.get("carbon_intensity")
        if not isinstance(grams, (int, float)):
            continue
        if wanted in (code.casefold(), name.casefold()):
            version = installed_version("codecarbon") or ""
            return Grid(float(grams), name, entry.get("year"), f"codecarbon {version}".strip())
        named[name.casefold()] = f"{code} ({name})"
    near = ", ".join(named[name] for name in get_close_matches(wanted, named, n=3, cutoff=0.5))
    raise UsageError(
        f"--country {country}: codecarbon's table has no such country.",
        hint=f"Give a code of three letters, such as {near or 'DEU (Germany)'}, or --grid-intensity.",
    )


def _table() -> dict[str, dict[str, Any]]:
    found = find_spec("codecarbon")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("codecarbon is not installed, whose table --country reads.", hint=_hint())
    file = Path(found.submodule_search_locations[0]) / _TABLE
    try:
        table = read_json(file.read_bytes(), str(file))
    except (OSError, ValueError) as error:
        raise MissingExtraError(
            "codecarbon here has no table of countries: another release is needed.", hint=_hint(upgrade=True)
        ) from error
    return {code: entry for code, entry in table.items() if isinstance(entry, dict)} if isinstance(table, dict) else {}


def _hint(*, upgrade: bool = False) -> str:
    return f"{install_extra('carbon', upgrade=upgrade)}, or give the figure itself with --grid-intensity."
