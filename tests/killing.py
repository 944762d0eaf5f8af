"""Commands of edgelm that are killed (SIGKILL) at a moment of their time: children of one process that has imported
everything, so that each takes the time of its work alone.

`python killing.py` is that process: it reads requests as lines of JSON and answers each with one. Its children's
workers (`python -m edgelm...worker`) are forked from them for the same reason; a search makes its trials in the process
itself.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LIMIT_S = 240  # seconds that a command may take on a busy machine


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; -9: it was killed.
        cpu_s: seconds of CPU that its process took.
        wall_s: seconds that went by.
        stages: the stages of recipes that it began to run.
        said: what it wrote on stdout and stderr.
    """

    code: int
    cpu_s: float
    wall_s: float
    stages: tuple[str, ...]
    said: str


class Commands:
    """Runs commands, one at a time. Close it at the end.

    Args:
        folder: for what its processes write down.
        path: further entries of `sys.path`, such as a stand-in for TensorRT.
    """

    def __init__(self, folder: Path, *, path: tuple[str, ...] = ()) -> None:
        folder.mkdir()
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.temporary),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONPATH": os.pathsep.join((*path, str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))),
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, words: list[Any], *, cpu_s: float | None = None, wall_s: float | None = None) -> Ended:
        """Run a command, and kill it when it has taken so much CPU, or when so much time has gone by."""
        for name in ("stages", "said"):
            (self.folder / name).write_text("")
        request = {"words": [str(word) for word in words], "cpu_s": cpu_s, "wall_s": wall_s}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        stages = (self.folder / "stages").read_text().split()
        return Ended(**answer, stages=tuple(stages), said=(self.folder / "said").read_text())

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def content(path: Path) -> dict[str, bytes]:
    """The files of an output, but for the times in them: two runs of one command give the same."""
    if path.is_file():
        return {"": path.read_bytes()}
    found = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    return {name: _without_times(name, file.read_bytes()) for name, file in found.items()}


def _without_times(name: str, data: bytes) -> bytes:
    if name == "README.md":
        return re.sub(rb"\d{4}-\d\d-\d\dT[\d:+]+", b"TIME", data)
    if not name.endswith(".json"):
        return data
    values = json.loads(data)
    if isinstance(values, dict) and isinstance(values.get("files"), list):  # the card has the time in it
        values["files"] = [entry for entry in values["files"] if entry["path"] != "README.md"]
    return json.dumps(_strip(values)).encode()


def _strip(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _strip(value) for name, value in values.items() if name not in ("seconds", "created")}
    return [_strip(value) for value in values] if isinstance(values, list) else values


class _Forked:
    """As `subprocess.Popen` of `python -m MODULE` with pipes, but forked."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(read_in, 0)
            os.dup2(write_out, 1)
            os.closerange(3, 256)
            os.environ.update(environment)
            _be(command[2])
        os.close(read_in)
        os.close(write_out)
        self.stdin, self.stdout = os.fdopen(write_in, "w"), os.fdopen(read_out)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one."""
        late = time.monotonic() + (timeout or _LIMIT_S)
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > late:
                raise subprocess.TimeoutExpired("worker", timeout or _LIMIT_S)
            else:
                time.sleep(0.002)
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def _be(module: str) -> None:
    """Become a worker."""
    import io

    sys.stdin, sys.stdout = io.TextIOWrapper(io.FileIO(0)), io.TextIOWrapper(io.FileIO(1, "w"), line_buffering=True)
    try:
        importlib.import_module(module).main()
    finally:
        os._exit(0)


class _Inline:
    """Workers of a search without processes of their own."""

    count = 1

    def submit(self, number: int, job: Any) -> Future:
        from edgelm.search.trial import as_values, run_job

        future: Future = Future()
        future.set_result(run_job(json.loads(json.dumps(as_values(job)))))
        return future

    def close(self) -> None:
        """Nothing was opened."""


def _prepare(folder: Path) -> Any:
    """Import what commands need, and put in what makes them quick and tells of them."""
    import accelerate  # noqa: F401
    import onnxscript  # noqa: F401
    import optuna  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import torch
    import transformers

    import edgelm.budgeting.compress
    import edgelm.compress.finetune
    import edgelm.compress.pipeline as recipes
    import edgelm.engines
    import edgelm.export.pipeline
    import edgelm.line_process as lines
    import edgelm.profile.pipeline
    import edgelm.profile.tune_bench as tuning
    import edgelm.profile.worker  # noqa: F401
    import edgelm.search.pipeline as searching
    from edgelm.cli.main import app

    transformers.AutoModelForSequenceClassification  # noqa: B018  imported when it is first named
    torch.set_num_threads(1)
    run_stage = recipes._run_stage

    def noted(*values: Any, **options: Any) -> None:
        with (folder / "stages").open("a") as file:
            file.write(options["folder"].name + "\n")
        run_stage(*values, **options)

    recipes._run_stage = noted
    lines.LineProcess._begin = staticmethod(_Forked)
    searching._workers = lambda jobs, ray: _Inline()
    tuning._RUNS, tuning._SESSIONS = (20, 20), 2
    return app


def _run(app: Any, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        said = os.open(folder / "said", os.O_WRONLY | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.closerange(3, 256)
        code = 1
        try:
            app(request["words"])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            (folder / "modules").write_text("\n".join(sys.modules))
            os._exit(code)
    clock = (~pid << 3) | 2  # its CPU time, as clock_getcpuclockid(3) has it
    cpu = 0.0
    while True:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            _, status, usage = os.wait4(pid, 0)
            cpu = usage.ru_utime + usage.ru_stime
            break
        wall = time.monotonic() - start
        late = request["wall_s"] is not None and wall >= request["wall_s"]
        late |= request["cpu_s"] is not None and time.clock_gettime(clock) >= request["cpu_s"]
        if late or wall > _LIMIT_S:
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        else:
            time.sleep(0.001)
    return {"code": os.waitstatus_to_exitcode(status), "cpu_s": cpu, "wall_s": time.monotonic() - start}


def _import_all(names: list[str]) -> None:
    """Import what a command has imported while it ran: the next one has it already."""
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def main() -> None:
    """Serve until stdin closes."""
    folder = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    app = _prepare(folder)
    for line in sys.stdin:
        answer = _run(app, folder, json.loads(line))
        if answer["code"] == 0:
            _import_all((folder / "modules").read_text().split("\n"))
        answers.write(json.dumps(answer) + "\n")
    os._exit(0)  # without the seconds that it takes to let go of all that was imported


if __name__ == "__main__":
    main()
