"""Where subjects are measured: on this machine, or wherever else processes can be started and asked."""

from __future__ import annotations

from typing import Any, Protocol

from edgelm.hardware.machine import describe_machine
from edgelm.line_process import LineProcess
from edgelm.profile.subject import Subject
from edgelm.runtime.session import available_cores


class Channel(Protocol):
    """A process that answers each line with one line."""

    def exchange(self, line: str) -> str:
        """Say a line and wait for the answer; empty once the process has ended."""
        ...

    def ending(self) -> str:
        """How a process that has ended did so, such as `exit code 1`."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


class Host(Protocol):
    """A machine on which subjects run.

    Attributes:
        host: as the user names it; None: this machine.
    """

    @property
    def host(self) -> str | None: ...

    def start(self, module: str, *, threads: int | None = None, python: str | None = None) -> Channel:
        """Run a module of edgelm in a process of its own there; by another interpreter, if one is named."""
        ...

    def locate(self, subject: Subject) -> str:
        """Where the subject's files lie there."""
        ...

    def cores(self) -> int:
        """The cores that may be used."""
        ...

    def describe(self) -> dict[str, Any]:
        """The machine, as `edgelm.hardware.machine` describes it."""
        ...


class LocalHost:
    """The machine that this runs on."""

    host: str | None = None

    def start(self, module: str, *, threads: int | None = None, python: str | None = None) -> Channel:
        """As in `Host`."""
        settings = {"PYTHONDONTWRITEBYTECODE": "1"}
        return LineProcess(module, threads=threads or None, environment=settings, python=python)

    def locate(self, subject: Subject) -> str:
        """As in `Host`."""
        return str(subject.path)

    def cores(self) -> int:
        """As in `Host`."""
        return available_cores()

    def describe(self) -> dict[str, Any]:
        """As in `Host`."""
        return describe_machine().to_dict()


HERE = LocalHost()
