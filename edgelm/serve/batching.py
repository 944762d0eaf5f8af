"""Dynamic batching: samples of requests that wait together are read by the model in one call.

While a batch is computed, others wait; when it is done, the next takes what is there. Nothing is delayed for the sake
of a larger batch unless that is asked for. The sample that has waited longest is always in the next batch, with others
of like length: a short text that is padded to a long one costs as much as that.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgelm.runtime.answers.table import READERS, Answer
from edgelm.runtime.model import Model
from edgelm.serve.limits import LAST_WORDS_S, Limits
from edgelm.serve.metrics import Metrics
from edgelm.serve.refusals import Refusal

_LIKE = 1.5  # how many times as long as the shortest of a batch the longest may be,
_ANYWAY = 32  # and by how many characters more, where all are short


@dataclass(frozen=True)
class Answered:
    """What a model says to one sample.

    Attributes:
        answer: see `edgelm.runtime.answers`.
        row: (width,) float32, the graph's outputs, where the sample has one row; else None.
        tokens: how many were read, special ones among them.
    """

    answer: Answer
    row: np.ndarray | None
    tokens: int


class _Call:
    """Samples that were asked about together; the last answer, or the first error, ends the wait."""

    def __init__(self, count: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.answers: dict[int, Answered] = {}
        self.count = count
        self.error: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be found out for it."""
        return self.error is not None or len(self.answers) == self.count or self.future.cancelled()

    def tell(self) -> None:
        """Wake who waits; in the event loop."""
        if not self.future.done():
            if self.error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(self.error)


@dataclass(frozen=True, eq=False)
class _Waiting:
    call: _Call
    place: int
    sample: Any
    size: int
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Answers samples of many requests by one model, in threads of its own.

    Args:
        workers: batches that may be under way at once: while one is computed, another's texts become tokens.
    """

    def __init__(self, name: str, model: Model, limits: Limits, metrics: Metrics, *, workers: int = 1) -> None:
        self.model, self._limits = model, limits
        self._most = limits.max_batch if reads_together(model) else 1
        self._whole_rows = not READERS[model.manifest.task.kind].of_tokens
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = False
        self._metrics = metrics.of(name, lambda: len(self._waiting))
        self._threads = [
            threading.Thread(target=self._work, name=f"edgelm-{name}-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    async def __call__(self, samples: Sequence[Any]) -> list[Answered]:
        """One answer a sample, each as if it were alone.

        Args:
            samples: as `edgelm.runtime.inputs.samples.check_sample` gives them back.

        Raises:
            Refusal: the queue is full, or the server is stopping.
            EdgelmError: as `edgelm.runtime.model.Model`, of a sample that cannot be answered.
        """
        if not samples:
            return []
        call = _Call(len(samples))
        items = [_Waiting(call, place, sample, _size(sample)) for place, sample in enumerate(samples)]
        with self._changed:
            if self._closed:
                raise Refusal(503, "the server is stopping.")
            if len(self._waiting) + len(items) > self._limits.queue:
                raise Refusal(429, f"{len(self._waiting)} samples wait already.", hint="Try again in a moment.")
            self._waiting += items
            self._changed.notify(len(items))
        try:
            await call.future
        finally:
            if call.future.cancelled() or call.error is not None:  # nobody waits for the rest of it
                with self._changed:
                    self._waiting = [item for item in self._waiting if item.call is not call]
        return [call.answers[place] for place in range(call.count)]

    def close(self) -> None:
        """Answer what waits, and end; nobody is left who waits for what takes longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(LAST_WORDS_S)

    def _work(self) -> None:
        while batch := self._take():
            ended = []
            for item, found in zip(batch, self._answer([item.sample for item in batch]), strict=True):
                if self._keep(item, found):
                    ended.append(item.call)
            _tell(ended)

    def _take(self) -> list[_Waiting]:
        """The next batch; empty where there will be none."""
        delay_s = self._limits.max_delay_ms / 1000
        with self._changed:
            while True:
                if not self._waiting:
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                left_s = self._waiting[0].since + delay_s - time.monotonic() if delay_s else 0.0
                if left_s <= 0 or len(self._waiting) >= self._most or self._closed:
                    break
                self._changed.wait(left_s)
            batch = alike(self._waiting, self._most)
            taken = set(map(id, batch))
            self._waiting = [item for item in self._waiting if id(item) not in taken]
            return batch

    def _answer(self, samples: list[Any]) -> list[Answered | Exception]:
        """An answer a sample, or why it has none: one that cannot be read takes no others with it."""
        try:
            return [*self._read(samples)]
        except BaseException as error:  # a thread that ended would leave all others waiting
            if len(samples) == 1:
                return [error if isinstance(error, Exception) else RuntimeError(repr(error))]
            return [found for sample in samples for found in self._answer([sample])]

    def _read(self, samples: list[Any]) -> list[Answered]:
        batch = self.model.tokenize(samples)
        outputs = self.model.infer(batch)
        answers = self.model.read(outputs, batch)
        context = batch.context
        tokens = [sum(len(context.sequences[row]) for row in rows) for rows in context.by_sample()]
        self._metrics.batch(len(samples))
        self._metrics.read(sum(tokens))
        rows = outputs if self._whole_rows and len(outputs) == len(samples) else [None] * len(samples)
        return [Answered(*each) for each in zip(answers, rows, tokens, strict=True)]

    def _keep(self, item: _Waiting, found: Answered | Exception) -> bool:
        """Keep what was found for a sample; whether its call has ended with it."""
        with self._changed:
            if item.call.ended:
                return False
            if isinstance(found, Exception):
                item.call.error = found
            else:
                item.call.answers[item.place] = found
            return item.call.ended


def reads_together(model: Model) -> bool:
    """Whether a text's answer is the same whatever is read beside it, but for the rounding of sums: not where INT8
    takes the range of its activations from the whole batch, nor where the graph reads no mask."""
    return model.padded and model.manifest.precision != "int8-dynamic"


def alike(waiting: Sequence[_Waiting], most: int) -> list[_Waiting]:
    """Who goes into the next batch: the first, and those of about its length."""
    first, *others = waiting
    chosen, shortest, longest = [first], first.size, first.size
    for item in sorted(others, key=lambda item: abs(item.size - first.size)):
        if len(chosen) >= most:
            break
        low, high = min(shortest, item.size), max(longest, item.size)
        if high <= max(low * _LIKE, low + _ANYWAY):
            chosen, shortest, longest = [*chosen, item], low, high
    return chosen


def _size(sample: Any) -> int:
    """Characters, which tell the length in tokens well enough before there are any."""
    return len(sample) if isinstance(sample, str) else sum(map(_size, sample))


def _tell(calls: Sequence[_Call]) -> None:
    """Wake all who wait for these, each in its own event loop; one that is closed has nobody left."""
    for loop in {call.loop for call in calls}:
        mine = [call for call in calls if call.loop is loop]
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_tell_here, mine)


def _tell_here(calls: Sequence[_Call]) -> None:
    for call in calls:
        call.tell()
