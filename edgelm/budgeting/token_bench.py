"""Times models that write beside the uncut one: each as a bundle in a process of its own, the two taking turns, so that
a slow minute of the machine cancels out."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from transformers import PreTrainedModel

from edgelm.anatomy.hidden import hidden_size, narrow
from edgelm.budgeting.token_probe import longest_text, shaped, write_probe
from edgelm.checkpoint import Checkpoint
from edgelm.device import Device
from edgelm.errors import UsageError
from edgelm.files.scratch import open_scratch
from edgelm.profile.generation.worker import FIRST, NEXT
from edgelm.profile.interleave import WorkerClient, take_turns
from edgelm.profile.subject import find_subject
from edgelm.progress import silent
from edgelm.runtime.session import available_cores
from edgelm.shapes import Shapes

CONTEXT, CROSS_CONTEXT, PROMPT = 256, 64, 128  # tokens, where nothing else is asked for
_TOKEN_CALLS, _PROMPT_CALLS = (5, 60, 5), (1, 6, 2)  # not counted, counted, and counted at a time


@dataclass(frozen=True)
class Lengths:
    """What times are meant at.

    Attributes:
        context: tokens behind which one more is written; of an encoder-decoder as many of a source too.
        prompt: tokens that are read before the first is written.
    """

    context: int
    prompt: int

    @classmethod
    def of(cls, checkpoint: Checkpoint, context: int | None, prompt: int | None) -> Lengths:
        """What was asked for, or what is usual and fits.

        Raises:
            UsageError: longer than the model takes.
        """
        longest = longest_text(checkpoint)
        usual = CROSS_CONTEXT if checkpoint.config.get("is_encoder_decoder") else CONTEXT
        for option, asked, most in (("--context", context, longest - 1), ("--prompt-length", prompt, longest)):
            if asked is not None and not 1 <= asked <= most:
                raise UsageError(f"{option} is {asked:,}; this model holds 1 to {most:,} tokens.", hint="Give another.")
        return cls(context or min(usual, longest - 1), prompt or min(PROMPT, longest))


@dataclass(frozen=True)
class Timed:
    """What a bundle takes.

    Attributes:
        token, first: times that the uncut model takes for a token, and for a prompt up to its first token; None: not
            measured.
        memory_mb: the most that its process held, 10^6 bytes.
        size_mb: on disk, 10^6 bytes.
    """

    token: float | None
    first: float | None
    memory_mb: float
    size_mb: float


class Bench:
    """Bundles in a temporary folder, which goes with it: of the uncut model, and of one other at a time.

    Attributes:
        model: the uncut one.
        token_ms, first_ms: the least medians of the uncut model so far; inf before there are any.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        checkpoint: Checkpoint,
        lengths: Lengths,
        *,
        device: Device,
        precision: str,
        embedding_bits: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.model, self.checkpoint, self.lengths = model, checkpoint, lengths
        self.device, self.precision, self.embedding_bits = device, precision, embedding_bits
        self.threads = threads or available_cores()
        self.token_ms = self.first_ms = float("inf")
        self._scratch = ExitStack()
        self._folder = self._scratch.enter_context(open_scratch())
        self._reference: WorkerClient | None = None
        self._known: dict[tuple[Any, ...], Timed] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._reference is not None:
            self._reference.close()
        self._scratch.close()

    def time(self, shapes: Shapes, tokens: int | None = None, *, first: bool = False, hidden: float = 1.0) -> Timed:
        """The model with layers of these shapes.

        Args:
            tokens: that it knows; None: all.
            first: whether the first token is timed too.
            hidden: how wide its hidden states are, beside the uncut one's.
        """
        key = (tuple(shapes), tokens, first, hidden)
        if key not in self._known:
            model = shaped(self.model, shapes, tokens)
            if hidden != 1:
                model = narrow(model, torch.arange(round(hidden * hidden_size(model))))
            self._known[key] = self.time_model(model, first=first)
        return self._known[key]

    def time_model(
        self,
        model: PreTrainedModel,
        *,
        first: bool = False,
        checkpoint: Checkpoint | None = None,
        tokenizer: Any = None,
        embedding_bits: int | None = None,
    ) -> Timed:
        """Any model.

        Args:
            checkpoint: that it is of; None: the uncut one.
            tokenizer: as a bundle holds it; None: an empty one.
            embedding_bits: None: as all others.
        """
        place = self._write("other", model, checkpoint, tokenizer, embedding_bits)
        worker = WorkerClient(find_subject(place), threads=self.threads)
        try:
            return self._measure([self._whole(), worker], first=first)
        finally:
            worker.close()
            shutil.rmtree(place)

    def settle(self, *, first: bool = False) -> None:
        """Time the uncut model alone."""
        self._measure([self._whole()], first=first)

    def _whole(self) -> WorkerClient:
        """The uncut model, which stays loaded."""
        if self._reference is None:
            place = self._write("whole", self.model, None, None, None)
            self._reference = WorkerClient(find_subject(place), threads=self.threads)
        return self._reference

    def _write(
        self, name: str, model: PreTrainedModel, checkpoint: Checkpoint | None, tokenizer: Any, bits: int | None
    ) -> Path:
        return write_probe(
            model,
            self._folder / name,
            checkpoint=checkpoint or self.checkpoint,
            device=self.device,
            precision=self.precision,
            embedding_bits=bits or self.embedding_bits,
            tokenizer=tokenizer,
        )

    def _measure(self, workers: Sequence[WorkerClient], *, first: bool) -> Timed:
        """The last beside the first."""
        whole, token = _side_by_side(workers, NEXT, self.lengths.context, _TOKEN_CALLS)
        self.token_ms = min(self.token_ms, whole)
        memory, prompt = float(workers[-1].ask("memory")["peak_mb"]), None
        if first:
            whole, prompt = _side_by_side(workers, FIRST, self.lengths.prompt, _PROMPT_CALLS)
            self.first_ms = min(self.first_ms, whole)
        return Timed(token, prompt, memory, workers[-1].subject.size_mb)


def _side_by_side(
    workers: Sequence[WorkerClient], measure: str, tokens: int, calls: tuple[int, int, int]
) -> tuple[float, float]:
    """Median of the first worker, ms, and how many times that the last takes: the median over turns of the two."""
    for worker in workers:
        worker.ask("prepare", feeds=[{"measure": measure, "tokens": tokens}])
    warmup, runs, block = calls
    samples = take_turns(workers, warmup, runs, "times", silent, block=block, settle=1)
    turns = [
        statistics.median(last[at : at + block]) / statistics.median(first[at : at + block])
        for first, last in [(samples[0], samples[-1])]
        for at in range(0, runs, block)
    ]
    return statistics.median(samples[0]), statistics.median(turns)
