"""Writes for many clients by one generator: one text at a time, in a thread of its own, the others wait their turn.

What the generator has read of one client's prompt is forgotten before the next is read, unless both say that they
belong together by the same key: the time that an answer takes would tell what others have asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

from edgelm.runtime.answers.table import Answer
from edgelm.runtime.generation.generator import Generator
from edgelm.runtime.generation.prompts import Prompt
from edgelm.serve.limits import LAST_WORDS_S, Limits
from edgelm.serve.metrics import Metrics
from edgelm.serve.refusals import Refusal


class Job:
    """A text to write.

    Args:
        key: of the conversation that it belongs to; empty: of none.
    """

    def __init__(self, prompt: Prompt, settings: dict[str, Any], key: str = "") -> None:
        self.prompt, self.settings, self.key = prompt, settings, key
        self.cancelled = False
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[str | Answer | Exception] = asyncio.Queue()

    async def events(self) -> AsyncIterator[str | Answer]:
        """The pieces of the text as they are written, and at last the whole answer.

        Raises:
            EdgelmError: as `edgelm.runtime.generation.generator.Generator`; in front of all pieces, where the prompt is
                refused.
        """
        while True:
            event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            yield event
            if not isinstance(event, str):
                return

    def tell(self, event: str | Answer | Exception) -> None:
        """Hand something to who waits, from the thread that writes; a loop that is closed has nobody left."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)


class Writer:
    """One generator, and the texts that it has to write."""

    def __init__(self, name: str, generator: Generator, limits: Limits, metrics: Metrics) -> None:
        self.generator, self._limits = generator, limits
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = self._writing = False
        self._metrics = metrics.of(name, lambda: len(self._jobs))
        self._key = ""  # of the text in the cache
        self._thread = threading.Thread(target=self._work, name=f"edgelm-{name}", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a text is being written, or waits."""
        return self._writing or bool(self._jobs)

    async def answers(self, jobs: Sequence[Job]) -> list[Answer]:
        """Whole answers, in order.

        Raises:
            Refusal: too many wait already, or the server is stopping.
            EdgelmError: as `Job.events`.
        """
        self.submit(jobs)
        try:
            return [event for job in jobs async for event in job.events() if not isinstance(event, str)]
        finally:
            self.cancel(jobs)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Have texts written.

        Raises:
            Refusal: too many wait already, or the server is stopping.
        """
        with self._changed:
            if self._closed:
                raise Refusal(503, "the server is stopping.")
            if len(self._jobs) + len(jobs) > self._limits.queue:
                raise Refusal(429, f"{len(self._jobs)} texts wait already.", hint="Try again in a moment.")
            self._jobs += jobs
            self._changed.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Write no more of these; nobody waits for them."""
        with self._changed:
            for job in jobs:
                job.cancelled = True
                with contextlib.suppress(ValueError):
                    self._jobs.remove(job)

    def close(self) -> None:
        """Write what waits, and end; nobody is left who waits for what takes longer."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(LAST_WORDS_S)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._write(job)
            except BaseException as error:  # a thread that ended would leave all others waiting
                self._key = ""
                job.tell(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _next(self) -> Job | None:
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return None
                self._writing = False
                self._changed.wait()
            self._writing = True
            return self._jobs.popleft()

    def _write(self, job: Job) -> None:
        generator = self.generator
        if job.cancelled:
            return
        if not job.key or job.key != self._key:
            generator.forget()
        self._key = job.key
        most = min(generator.settings.max_new_tokens, self._limits.max_tokens)
        settings = {"max_new_tokens": most} | job.settings
        if generator.settings_with(settings).num_beams > 1:  # no text is known before the end
            answer: Answer = generator([job.prompt], **settings)[0]
            job.tell(answer["text"])
        else:
            pieces = generator.stream(job.prompt, **settings)
            while True:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    answer = end.value
                    break
                job.tell(piece)
                if job.cancelled:
                    pieces.close()
                    return
        self._metrics.read(answer["prompt_tokens"])
        self._metrics.written(answer["tokens"])
        job.tell(answer)
