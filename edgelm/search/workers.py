"""Worker processes on this machine, each with its share of the cores."""

from __future__ import annotations

import json
import os
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from edgelm.line_process import LineProcess
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
        self._idle: queue.SimpleQueue[LineProcess] = queue.SimpleQueue()
        self._busy: dict[int, LineProcess] = {}
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
            self._idle.get().close()

    def _run(self, number: int, job: Job) -> dict[str, Any]:
        with self._lock:
            if self._closed:
                return _dead("it was not begun")
            process = self._idle.get() if not self._idle.empty() else self._start()
            self._busy[number] = process
        try:
            line = process.exchange(json.dumps(as_values(job)))
        finally:
            with self._lock:
                del self._busy[number]
        if not line:
            process.close()
            return _dead(f"the process that ran it ended ({process.ending()})")
        self._idle.put(process)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self) -> LineProcess:
        threads = max(1, available_cores() // self.count)
        asked = os.environ.get("OMP_NUM_THREADS", "")
        return LineProcess("edgelm.search.worker", threads=min(threads, int(asked)) if asked.isdigit() else threads)


def _dead(what: str) -> dict[str, Any]:
    return {"error": f"{what}.", "hint": "It may need more memory; try fewer --jobs.", "class": "EdgelmError"}
