"""A host as a place where subjects are measured: the same workers as at home, over a visit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from edgelm.errors import HostError
from edgelm.profile.host import Line
from edgelm.profile.remote.agent_client import Visit
from edgelm.profile.remote.payload import place_of
from edgelm.profile.subject import Subject
from edgelm.version import __version__


class RemoteMachine:
    """A `Place` to which the subjects were copied."""

    def __init__(self, visit: Visit, subjects: Sequence[Subject]) -> None:
        self._visit, self._subjects = visit, subjects
        self.host: str | None = visit.host

    def start(self, module: str, *, threads: int | None = None) -> Line:
        """As in `Place`."""
        return self._visit.start(["-m", module], {"OMP_NUM_THREADS": str(threads)} if threads else {})

    def locate(self, subject: Subject) -> str:
        """As in `Place`."""
        return f"{self._visit.facts['folder']}/{place_of(subject, self._subjects)}"

    def cores(self) -> int:
        """As in `Place`."""
        return int(self._machine["cores"])

    def describe(self) -> dict[str, Any]:
        """As in `Place`."""
        return self._machine

    @cached_property
    def _machine(self) -> dict[str, Any]:
        line = self._visit.start(["-m", "edgelm.profile.monitor"])
        try:
            answer = line.exchange(json.dumps({"do": "machine"}))
            if not answer:
                raise HostError(f"{self.host}: it could not be described ({line.ending()}).", hint="Report this with its Python version.")
        finally:
            line.close()
        machine: dict[str, Any] = json.loads(answer)
        return machine | {"versions": {"edgelm": __version__} | machine["versions"]}
