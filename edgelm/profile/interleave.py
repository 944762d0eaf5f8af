"""The other end of worker processes: ask, get an answer, and have several take turns."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import edgelm.errors
from edgelm.errors import EdgelmError, InputError
from edgelm.profile.generation.genai import VARIABLE as GENAI_PYTHON
from edgelm.profile.host import HERE, Host
from edgelm.profile.subject import Subject
from edgelm.progress import Progress

BLOCK_CALLS = 10
SETTLE_CALLS = 3
_SAID = ("kind", "precision", "session", "provider", "compiled", "generates")  # of a subject, to its worker
REST_S = 0.05  # onnxruntime's threads spin for tens of milliseconds after a call


class WorkerClient:
    """One subject, loaded in a fresh process; threads None: as its session settings say.

    Attributes:
        load_ms: from the first import of the runtime to the loaded subject.
        chosen: what runs it, and why: `runs_on`, `provider`, and of a bundle `engine` and `passed`; see `Profile`.
    """

    def __init__(self, subject: Subject, *, threads: int | None, place: Host = HERE) -> None:
        self.subject = subject
        self._about = "" if place.host is None else f"{place.host}: "
        self._there = place.locate(subject)
        self._line = place.start("edgelm.profile.worker", threads=threads, python=_interpreter(subject))
        try:
            values = {name: getattr(subject, name) for name in _SAID}
            loaded = self.ask("load", subject=values | {"path": self._there, "threads": threads})
            self.load_ms: float = loaded["load_ms"]
            self.chosen: dict[str, Any] = loaded["chosen"] | {"passed": tuple(loaded["chosen"].get("passed", ()))}
        except BaseException:
            self.close()
            raise

    def ask(self, what: str, **values: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            EdgelmError: whatever the worker met, or that it ended.
        """
        line = self._line.exchange(json.dumps({"do": what, **values}))
        if not line:
            raise InputError(
                f"{self._about}{self.subject.path}: the process that ran it ended ({self._line.ending()}).",
                hint=_why_ended(self.subject),
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind: type[EdgelmError] = getattr(edgelm.errors, answer["class"], InputError)
            raise kind(self._about + answer["error"].replace(self._there, str(self.subject.path)), hint=answer["hint"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._line.close()


def _interpreter(subject: Subject) -> str | None:
    """What runs its worker; None: this interpreter."""
    return os.environ.get(GENAI_PYTHON) or None if subject.kind == "genai" else None


def _why_ended(subject: Subject) -> str:
    python = _interpreter(subject)
    if python is None:
        return "It may need more memory; run it alone to see why."
    return f"It may need more memory, or a package: see what `{python} -c 'import onnxruntime_genai'` says."


def take_turns(
    workers: Sequence[WorkerClient],
    warmup: int,
    runs: int,
    label: str,
    progress: Progress,
    *,
    block: int = BLOCK_CALLS,
    settle: int = SETTLE_CALLS,
    mhz: list[float] | None = None,
    each_round: Callable[[list[list[float]]], bool] | None = None,
) -> list[list[float]]:
    """Samples in ms of `runs` calls of each worker, in blocks.

    In every round each worker makes one block of calls, in an order that is shuffled anew; the first calls of a block
    wake its threads and fill the caches and are not counted. Between two blocks nobody runs: the threads of the worker
    before would still spin, and hold a core that the next one needs. A worker that is alone has nothing to share the
    machine with: one block.

    Args:
        block: calls of a block that are counted.
        settle: calls before them that are not.
        mhz: takes up the CPU's frequency after each block, where the machine shows it.
        each_round: told the samples of each round, by worker, when it is over; where it answers True, no other follows.
    """
    order = random.Random(0)
    for worker in workers:
        worker.ask("block", count=1, skip=warmup)
    samples: list[list[float]] = [[] for _ in workers]
    size = runs if len(workers) == 1 else block
    for done in range(0, runs, size):
        made: list[list[float]] = [[] for _ in workers]
        for index in order.sample(range(len(workers)), len(workers)):
            time.sleep(REST_S)
            answer = workers[index].ask("block", count=min(size, runs - done), skip=settle)
            made[index] = answer["samples_ms"]
            if mhz is not None and answer.get("mhz"):
                mhz.append(answer["mhz"])
        samples = [before + new for before, new in zip(samples, made, strict=True)]
        ended = (each_round is not None and each_round(made)) or done + size >= runs
        progress(label, runs if ended else done + size, runs)
        if ended:
            break
    return samples
