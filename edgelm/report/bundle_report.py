"""The noun BundleReport: all that is known of some bundles, as `edgelm report` writes it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from importlib.resources import files
from typing import Any

from edgelm.report.headline import headlines
from edgelm.report.language import tr
from edgelm.report.tables import Profiles, profile_of
from edgelm.version import __version__

BUNDLE_REPORT_SCHEMA = 1


@dataclass(frozen=True)
class BundleReport:
    """What `edgelm report` found of one bundle, or of several that are compared.

    Attributes:
        bundles: as `describe_bundle` gives them, each with a `label` that no other has.
        profiles: what was measured, of these bundles and of what was measured beside them; as `read_profiles` gives it.
        estimates: what was estimated, as a file of profiles holds it.
        texts: what models that write know of texts, one entry a file of profiles that has it.
        answers: as `judge_answers` gives them; None where no rows were given.
        prices: as `estimate_prices` gives them; None where no price was given.
        energy: as `estimate_energy` gives it; None where nothing is known of the power.
        created: ISO 8601, UTC.
    """

    bundles: tuple[dict[str, Any], ...]
    profiles: Profiles = field(default_factory=list)
    estimates: list[dict[str, Any]] = field(default_factory=list)
    texts: tuple[dict[str, Any], ...] = ()
    answers: dict[str, Any] | None = None
    prices: dict[str, Any] | None = None
    energy: dict[str, Any] | None = None
    created: str = ""

    @property
    def title(self) -> str:
        """What the report is about."""
        *others, last = self.labels
        return tr("{others} and {last}", others=", ".join(others), last=last) if others else last

    @property
    def labels(self) -> list[str]:
        """The bundles' labels."""
        return [bundle["label"] for bundle in self.bundles]

    @cached_property  # each time would draw its bootstrap intervals anew
    def headlines(self) -> list[dict[str, Any]]:
        """As `edgelm.report.headline.headlines` gives them."""
        return headlines(self.bundles, self.profiles, self.answers, self.prices, self.energy)

    def profile_of(self, bundle: dict[str, Any]) -> dict[str, Any] | None:
        """The first profile of a bundle; None: it was not measured."""
        return profile_of(bundle, self.profiles)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `report_schema` describes it."""
        return {
            "schema": BUNDLE_REPORT_SCHEMA,
            "edgelm": __version__,
            "created": self.created,
            "title": self.title,
            "headlines": self.headlines,
            "bundles": list(self.bundles),
            "profiles": self.profiles,
            "estimates": self.estimates,
            "texts": list(self.texts),
            "answers": self.answers,
            "prices": self.prices,
            "energy": self.energy,
        }

    def to_json(self) -> str:
        """The text of a file."""
        return json.dumps(self.to_dict(), indent=1) + "\n"


def labelled(bundles: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Bundles with labels: their names, of bundles with the same name with the precision or, where that is the same
    too, a number behind."""
    names = Counter(bundle["name"] for bundle in bundles)
    precise = Counter((bundle["name"], bundle["precision"]) for bundle in bundles)
    found = []
    for number, bundle in enumerate(bundles, start=1):
        label = bundle["name"]
        if names[label] > 1:
            known = precise[(bundle["name"], bundle["precision"])] == 1
            label = f"{label} ({bundle['precision']})" if known else f"{label} ({number})"
        found.append(bundle | {"label": label})
    return tuple(found)


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def report_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of what `edgelm report --output` writes."""
    text = (files("edgelm.report") / "report.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
