"""Session settings side by side: each in a process of its own, taking turns, within the time that there is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from edgelm.clock import Clock
from edgelm.errors import UsageError
from edgelm.profile.inputs import Feeds
from edgelm.profile.interleave import BLOCK_CALLS, REST_S, SETTLE_CALLS, WorkerClient, take_turns
from edgelm.profile.subject import Subject
from edgelm.progress import Progress

Settings = dict[str, Any]

_SESSIONS = 7
_RUNS = (40, 300)
_SHARE = 1 / 20  # of the time, for the calls of each comparison: half of all goes to starting processes
_PROBED = 5  # calls that tell the pace


@dataclass(frozen=True)
class Trial:
    """Settings, and what they gave.

    Attributes:
        p50_ms, session_ms, peak_memory_mb: median latency, median time to make a session, peak memory of the process
            (10^6 bytes).
        ratio: latency against the settings that were in use, the median over pairs of neighbouring blocks of calls.
        sure: share of those pairs in which it was faster.
    """

    knob: str
    value: str
    settings: Settings
    p50_ms: float
    session_ms: float
    peak_memory_mb: float
    ratio: float = 1.0
    sure: float = 0.0
    kept: bool = False


@dataclass(frozen=True)
class _Started:
    """Settings in a process that waits for its turn."""

    settings: Settings
    worker: WorkerClient
    session_ms: float
    peak_memory_mb: float


class Bench:
    """Compares settings, and knows from those that it has started how long that takes.

    Leaving it ends its processes.

    Args:
        in_use: the settings that the first comparison begins with; they are started at once, to know the pace.
        clock: its reserve is for what follows once all is compared.
    """

    def __init__(self, subject: Subject, feeds: list[Feeds], in_use: Settings, clock: Clock) -> None:
        self.subject, self._feeds, self._clock = subject, feeds, clock
        self._start_s = 0.0
        self._waiting: _Started | None = self._start(in_use)
        try:
            self._call_s = self._pace(self._waiting.worker)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process that waits for the first comparison."""
        if self._waiting is not None:
            self._waiting.worker.close()
            self._waiting = None

    def seconds_for(self, settings: int) -> float:
        """How long it takes at least to compare so many."""
        first = self._start_s + (BLOCK_CALLS + _PROBED + 1) * self._call_s
        return settings * first + _RUNS[0] / BLOCK_CALLS * self._round_s(settings)

    def has_room(self, settings: int) -> bool:
        """Whether so many can be compared in time, and then what was found with what was there."""
        begun = self._start_s if self._waiting is not None else 0.0
        return self.seconds_for(settings) - begun + self.seconds_for(2) <= self._clock.left_s

    def check_room(self) -> None:
        """Say at once where nothing can be tried in time.

        Raises:
            UsageError: the time does not hold one comparison and the end.
        """
        if self.has_room(2):
            return
        spent, ahead = self._clock.spent_s, 2 * self.seconds_for(2) + self._clock.reserve_s
        needed = spent + ahead
        raise UsageError(
            f"a time limit of {self._clock.limit_s:g} s is too short: {spent:.0f} s have passed, and to try one "
            f"setting of {self.subject.name} and check what was found takes {ahead:.0f} s here.",
            hint=f"Give --time-limit {5 * math.ceil(1.2 * needed / 5)}s or more.",
        )

    def compare(
        self, settings: Sequence[tuple[str, Settings]], knob: str, progress: Progress, *, last: bool = False
    ) -> list[Trial]:
        """One trial for each, in order; the first are the settings that the others are held against.

        Where the machine turns out slower than it was, there are fewer calls.

        Args:
            last: no other comparison is to come, whose time would have to be left.
        """
        with ExitStack() as stack:
            started: list[_Started] = []
            for _, entry in settings:
                progress(f"{knob}: starting processes", len(started), len(settings))
                started.append(self._take(entry))
                stack.callback(started[-1].worker.close)
            progress(f"{knob}: starting processes", len(settings), len(settings))
            workers = [each.worker for each in started]
            self._call_s = self._pace(workers[0])
            share_s = _SHARE * (self._clock.limit_s or 0.0)
            runs = int(min(max(share_s / (self._call_s * len(workers)), _RUNS[0]), _RUNS[1]))
            kept_s = self._round_s(len(workers)) + (0.0 if last else self.seconds_for(2))
            samples = take_turns(
                workers, BLOCK_CALLS, runs, knob, progress, each_round=lambda _: self._clock.left_s <= kept_s
            )
        found = []
        for (value, _), each, times in zip(settings, started, samples, strict=True):
            pairs = [ours / before for before, ours in zip(_blocks(samples[0]), _blocks(times), strict=True)]
            sure = sum(pair < 1 for pair in pairs) / len(pairs)
            p50, ratio = statistics.median(times), statistics.median(pairs)
            found.append(Trial(knob, value, each.settings, p50, each.session_ms, each.peak_memory_mb, ratio, sure))
        return found

    def _round_s(self, settings: int) -> float:
        """How long a round of calls of so many takes."""
        return settings * ((BLOCK_CALLS + SETTLE_CALLS) * self._call_s + REST_S)

    def _take(self, entry: Settings) -> _Started:
        """Settings in a process, which may have been started before."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            if waiting.settings == entry:
                return waiting
            waiting.worker.close()
        return self._start(entry)

    def _start(self, entry: Settings) -> _Started:
        before = self._clock.spent_s
        worker = WorkerClient(replace(self.subject, session=entry), threads=None)
        try:
            worker.ask("prepare", feeds=self._feeds)
            peak = float(worker.ask("memory")["peak_mb"])
            session = statistics.median(worker.ask("sessions", count=_SESSIONS)["samples_ms"])
        except BaseException:
            worker.close()
            raise
        self._start_s = max(self._start_s, self._clock.spent_s - before)
        return _Started(entry, worker, session, peak)

    def _pace(self, worker: WorkerClient) -> float:
        """Seconds of a call."""
        return float(statistics.median(worker.ask("block", count=_PROBED, skip=1)["samples_ms"])) / 1000


def _blocks(samples: Sequence[float]) -> list[float]:
    """The median of each block of calls."""
    return [statistics.median(samples[start : start + BLOCK_CALLS]) for start in range(0, len(samples), BLOCK_CALLS)]
