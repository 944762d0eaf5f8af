"""Where subjects are measured: on this machine, or wherever else processes can be started and asked."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Protocol

from edgelm.hardware.machine import describe_machine
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

    def start(self, module: str, *, threads: int | None = None) -> Channel:
        """Run a module of edgelm in a process of its own there."""
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

    def start(self, module: str, *, threads: int | None = None) -> Channel:
        """As in `Host`."""
        return _Process(module, threads)

    def locate(self, subject: Subject) -> str:
        """As in `Host`."""
        return str(subject.path)

    def cores(self) -> int:
        """As in `Host`."""
        return available_cores()

    def describe(self) -> dict[str, Any]:
        """As in `Host`."""
        return describe_machine().to_dict()


class _Process:
    """A `Channel` to a process of this machine."""

    def __init__(self, module: str, threads: int | None) -> None:
        environment = (
            os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def exchange(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            return self._process.stdout.readline()
        except BrokenPipeError:
            return ""

    def ending(self) -> str:
        return f"exit code {self._process.wait()}"

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


HERE = LocalHost()
