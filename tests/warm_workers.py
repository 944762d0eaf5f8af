"""Workers (`python -m MODULE`, `edgelm.line_process`) that are forked from a process which has imported what they need.

A worker that answers by PyTorch takes seconds to import it, and a profile starts three. Where the process itself is no
subject of a test, `warm_workers` of conftest.py, or `warm`, has them forked. What they take of memory is then not
their own.
"""

from __future__ import annotations

import array
import contextlib
import functools
import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgelm.line_process import LineProcess

_LONGEST = 1 << 20  # bytes of a request: an environment
_REAL = LineProcess._begin


@contextlib.contextmanager
def warm() -> Iterator[None]:
    """Inside, workers are forked."""
    LineProcess._begin = staticmethod(begin)
    try:
        yield
    finally:
        LineProcess._begin = staticmethod(_REAL)


def begin(command: list[str], environment: dict[str, str]) -> Any:
    """As `LineProcess._begin`; another interpreter, or modules from elsewhere, are begun as they are."""
    at_home = environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH")
    if command[:2] != [sys.executable, "-m"] or not at_home:
        return _REAL(command, environment)
    return _Worker(_nursery(), command[2], environment)


class _Worker:
    """What is used of `subprocess.Popen`, of a process that another one has forked."""

    def __init__(self, nursery: _Nursery, module: str, environment: dict[str, str]) -> None:
        self._nursery = nursery
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()
        request = {"module": module, "environment": environment, "folder": str(Path.cwd())}
        self.pid: int = nursery.ask(request, (read_in, write_out))
        os.close(read_in)
        os.close(write_out)
        self.returncode: int | None = None
        self.stdin, self.stdout = os.fdopen(write_in, "w"), os.fdopen(read_out)

    def poll(self) -> int | None:
        """The exit code; None: it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one."""
        late = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if late is not None and time.monotonic() > late:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(0.005)
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class _Nursery:
    """The process that forks; one request at a time."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env=os.environ | {"OMP_NUM_THREADS": "1"},  # threads would not outlive a fork
                stdin=subprocess.DEVNULL,
            )

    def ask(self, request: dict[str, Any], files: tuple[int, ...] = ()) -> Any:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], files)
            return json.loads(self._socket.recv(_LONGEST))


@functools.cache
def _nursery() -> _Nursery:
    return _Nursery()  # it ends where its socket is closed, with this process


def _serve(requests: socket.socket) -> None:
    ended: dict[int, int] = {}
    while True:
        data, ancillary, _, _ = requests.recvmsg(_LONGEST, socket.CMSG_SPACE(8))
        if not data:
            os._exit(0)  # without the seconds that it takes to let go of all that was imported
        request = json.loads(data)
        if "ended" in request:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(request["ended"], os.WNOHANG)
                if pid:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(request["ended"])
        else:
            files = array.array("i", ancillary[0][2])
            answer = os.fork()
            if answer == 0:
                _be(request, files)
            for file in files:
                os.close(file)
        requests.send(json.dumps(answer).encode())


def _be(request: dict[str, Any], files: array.array) -> None:
    """Become the worker."""
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        for file, place in ((files[0], 0), (files[1], 1), (nothing, 2)):
            os.dup2(file, place)
        os.closerange(3, 256)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.stdin = io.TextIOWrapper(io.FileIO(0))
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), line_buffering=True)
        importlib.import_module(request["module"]).main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())  # as with -m
    import accelerate  # noqa: F401
    import onnxscript  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import torch
    import transformers

    import edgelm.compress.pipeline
    import edgelm.export.pipeline
    import edgelm.profile.pytorch
    import edgelm.profile.worker
    import edgelm.search.worker  # noqa: F401

    for _name in ("AutoModelForSequenceClassification", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"):
        getattr(transformers, _name)  # imported when it is first named
    torch.set_num_threads(1)
    _serve(socket.socket(fileno=int(sys.argv[1])))
