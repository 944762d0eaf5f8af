"""The noun LineProcess: a module of edgelm in a process of its own on this machine, which answers lines with lines."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, cast

from edgelm.errors import UsageError

_PATIENCE_S = 10  # for a process that was asked to end
# Brings edgelm alone to another interpreter: the folder that it lies in may hold this one's packages too.
_ELSEWHERE = """
import importlib.util, runpy, sys
place, module = sys.argv[1:]
spec = importlib.util.spec_from_file_location("edgelm", place + "/__init__.py", submodule_search_locations=[place])
sys.modules["edgelm"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["edgelm"])
runpy.run_module(module, run_name="__main__")
"""


class LineProcess:
    """A running `python -m MODULE`; what it says on stderr is thrown away.

    Args:
        threads: OMP_NUM_THREADS of the process; None: as it is here.
        python: another interpreter, with packages of its own and none of this one's but edgelm; None: this one.

    Raises:
        UsageError: no such interpreter.
    """

    def __init__(
        self,
        module: str,
        *,
        threads: int | None = None,
        environment: dict[str, str] | None = None,
        python: str | None = None,
    ) -> None:
        changes = (environment or {}) | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
        if python is None:
            command, inherited = [sys.executable, "-m", module], dict(os.environ)
        else:
            command = [python, "-c", _ELSEWHERE, str(Path(__file__).resolve().parent), module]
            inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = self._begin(command, inherited | changes)
        # Popen makes both, as it was asked for pipes.
        self._input, self._output = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    @staticmethod
    def _begin(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        except OSError as error:
            raise UsageError(
                f"{command[0]}: this interpreter does not start: {error.strerror}.", hint="Name one that is there."
            ) from error

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
