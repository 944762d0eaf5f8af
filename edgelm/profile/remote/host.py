"""A host as a place where subjects are measured: the same workers as at home, over a connection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from edgelm.errors import HostError
from edgelm.profile.host import Channel
from edgelm.profile.remote.agent_client import AgentClient
from edgelm.profile.remote.payload import place_of
from edgelm.profile.subject import Subject
from edgelm.version import __version__


class RemoteMachine:
    """A `Host` to which the subjects were copied."""

    def __init__(self, client: AgentClient, subjects: Sequence[Subject]) -> None:
        self._visit, self._subjects = client, subjects
        self.host: str | None = client.host

    def start(self, module: str, *, threads: int | None = None, python: str | None = None) -> Channel:
        """As in `Host`."""
        return self._visit.start(["-m", module], {"OMP_NUM_THREADS": str(threads)} if threads else {})

    def locate(self, subject: Subject) -> str:
        """As in `Host`."""
        return f"{self._visit.facts['folder']}/{place_of(subject, self._subjects)}"

    def cores(self) -> int:
        """As in `Host`."""
        return int(self._machine["cores"])

    def describe(self) -> dict[str, Any]:
        """As in `Host`."""
        return self._machine

    @cached_property
    def _machine(self) -> dict[str, Any]:
        line = self._visit.start(["-m", "edgelm.profile.monitor"])
        try:
            answer = line.exchange(json.dumps({"do": "machine"}))
            if not answer:
                raise HostError(
                    f"{self.host}: it could not be described ({line.ending()}).",
                    hint="Report this with its Python version.",
                )
        finally:
            line.close()
        machine: dict[str, Any] = json.loads(answer)
        return machine | {"versions": {"edgelm": __version__} | machine["versions"]}
