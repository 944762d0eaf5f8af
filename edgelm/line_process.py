"""The noun LineProcess: a module of edgelm in a process of its own on this machine, which answers lines with lines."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import IO, cast

_PATIENCE_S = 10  # for a process that was asked to end


class LineProcess:
    """A running `python -m MODULE`; what it says on stderr is thrown away.

    Args:
        threads: OMP_NUM_THREADS of the process; None: as it is here.
    """

    def __init__(self, module: str, *, threads: int | None = None, environment: dict[str, str] | None = None) -> None:
        changes = (environment or {}) | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | changes,
        )
        # Popen makes both, as it was asked for pipes.
        self._input, self._output = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    def exchange(self, line: str) -> str:
        """Say a line and wait for the answer; empty once the process has ended."""
        try:
            self._input.write(line + "\n")
            self._input.flush()
            return self._output.readline()
        except BrokenPipeError:
            return ""

    def ending(self) -> str:
        """How a process that has ended did so, such as `exit code 1`."""
        return f"exit code {self._process.wait()}"

    def kill(self) -> None:
        """End the process at once; whoever waits for its answer gets an empty one."""
        self._process.kill()

    def close(self) -> None:
        """Let the process end, or make it."""
        with contextlib.suppress(BrokenPipeError):  # what was written last found nobody
            self._input.close()
        try:
            self._process.wait(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()
