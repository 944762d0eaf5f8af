"""The noun Report: what was measured and estimated of some subjects, as `--json` prints it and as files keep it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgelm.errors import EdgelmError
from edgelm.report.tables import Estimates, Profiles

REPORT_SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """The result of `edgelm profile` or `edgelm estimate`.

    Attributes:
        profiles: what was measured, each as `Profile.to_dict` gives it.
        estimates: what was estimated, each as `Estimate.to_dict` gives it, of the same subjects and cases.
        texts: what models that write know of texts, as `TextComparison.to_dict` gives it; None where none were judged.
        failures: why a host could not be measured, by its name; None where no host was asked.
    """

    profiles: Profiles = field(default_factory=list)
    estimates: Estimates = field(default_factory=list)
    failures: Mapping[str, EdgelmError] | None = None
    texts: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; a part that there is nothing of is left out."""
        values: dict[str, Any] = {"schema": REPORT_SCHEMA}
        if self.profiles or not self.estimates:
            values["profiles"] = self.profiles
        if self.estimates:
            values["estimates"] = self.estimates
        if self.texts is not None:
            values["texts"] = self.texts
        if self.failures is not None:
            values["failures"] = {
                host: {"error": error.message, "hint": error.hint} for host, error in self.failures.items()
            }
        return values

    def to_json(self) -> str:
        """The text of a file."""
        return json.dumps(self.to_dict(), indent=1) + "\n"
