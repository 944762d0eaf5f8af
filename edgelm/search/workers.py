"""Worker processes on this machine, each with its share of the cores."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from edgelm.runtime.session import available_cores
from edgelm.search.trial import Job, as_values


class Workers(Protocol):
    """Whoever runs jobs: processes here, or a cluster."""

    count: int

    def submit(self, number: int, job: Job) -> Future[dict[str, Any]]:
        """Begin a job; the answer is that of `run_job`."""

    def cancel(self, number: int) -> None:
        """End a job that runs, at once; its answer means nothing."""

    def close(self) -> None:
        """End everything."""


class LocalWorkers:
    """`count` processes of this machine. One that dies is replaced."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="trial")
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        self._busy: dict[int, subprocess.Popen[str]] = {}
        self._lock = threading.Lock()  # between starting a process and ending it
        self._closed = False

    def submit(self, number: int, job: Job) -> Future[dict[str, Any]]:
        """See `Workers`."""
        return self._threads.submit(self._run, number, job)

    def cancel(self, number: int) -> None:
        """See `Workers`."""
        with self._lock:
            if number in self._busy:
                self._busy[number].kill()

    def close(self) -> None:
        """See `Workers`."""
        with self._lock:
            self._closed = True
            for process in self._busy.values():
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            _end(self._idle.get())

    def _run(self, number: int, job: Job) -> dict[str, Any]:
        with self._lock:
            if self._closed:
                return _dead("it was not begun")
            process = self._idle.get() if not self._idle.empty() else self._start()
            self._busy[number] = process
        line = ""
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(as_values(job)) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            pass
        finally:
            with self._lock:
                del self._busy[number]
        if not line:
            code = _end(process)
            return _dead(f"the process that ran it ended (exit code {code})")
        self._idle.put(process)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self) -> subprocess.Popen[str]:
        threads = max(1, available_cores() // self.count)
        asked = os.environ.get("OMP_NUM_THREADS", "")
        environment = os.environ | {"OMP_NUM_THREADS": str(min(threads, int(asked)) if asked.isdigit() else threads)}
        return subprocess.Popen(
            [sys.executable, "-m", "edgelm.search.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )


def _dead(what: str) -> dict[str, Any]:
    return {"error": f"{what}.", "hint": "It may need more memory; try fewer --jobs.", "class": "EdgelmError"}


def _end(process: subprocess.Popen[str]) -> int:
    """End a process and return its exit code."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        code = process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return code
