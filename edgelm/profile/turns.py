"""The other end of a worker process: ask, and get an answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import edgelm.errors
from edgelm.errors import EdgelmError, InputError
from edgelm.profile.subject import Subject


class Worker:
    """One subject, loaded in a fresh process."""

    def __init__(self, subject: Subject, *, threads: int) -> None:
        self.subject = subject
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgelm.profile.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        try:
            self.load_ms: float = self.ask("load", subject={"kind": subject.kind, "path": str(subject.path), "threads": threads})["load_ms"]
        except BaseException:
            self.close()
            raise

    def ask(self, what: str, **values: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            EdgelmError: whatever the worker met, or that it ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": what, **values}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise InputError(
                f"{self.subject.path}: the process that ran it ended (exit code {self.process.wait()}).",
                hint="It may need more memory; run it alone to see why.",
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind: type[EdgelmError] = getattr(edgelm.errors, answer["class"], InputError)
            raise kind(answer["error"], hint=answer["hint"])
        return answer

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
