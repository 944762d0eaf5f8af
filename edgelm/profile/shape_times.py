"""Times graphs of given shapes on this machine: in the export precision, each in a process of its own, all taking
turns; what was timed outlives an interruption."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgelm.checkpoint import Checkpoint
from edgelm.files.scratch import open_scratch
from edgelm.measured_rows import MeasuredRows
from edgelm.profile.interleave import BLOCK_CALLS, WorkerClient, take_turns
from edgelm.profile.subject import Subject
from edgelm.profile.worker import WEIGHTS_SUFFIX
from edgelm.progress import Progress, silent
from edgelm.runtime.native import NATIVE, is_preferred
from edgelm.shapes import ModelSizes, Shapes

CACHE = "latency"  # folder of the user's cache
_RUNS, _WARMUP = 80, 10
_WORDS = 2048  # rows of the embedding: a text reads few, and a large table only takes time to write


class Rounds:
    """Rounds of calls of several graphs, kept in the user's cache until `forget`.

    Args:
        question: all that their times depend on, as JSON.
        load: share of the machine's cores that others use now.
        enough: asked after each round whether it was the last.
    """

    def __init__(self, question: Any, load: float, enough: Callable[[], bool] = lambda: False) -> None:
        self._kept, self._now, self._enough = MeasuredRows(CACHE, question), load, enough

    @property
    def load(self) -> float:
        """The largest share of the cores that others used before any of them."""
        return max([self._now, *(float(row["load"]) for row in self._kept.rows)])

    def read(self, graphs: int) -> list[list[list[float]]]:
        """The rounds that were made: samples of each of so many graphs, in ms. None, where somebody changed them."""
        try:
            found = [[[*map(float, times)] for times in row["samples"]] for row in self._kept.rows]
            usable = self.load >= 0 and all(len(made) == graphs and all(made) for made in found)
        except (KeyError, TypeError, ValueError):
            usable = False
        if not usable:
            self.forget()
            return []
        return found

    def add(self, made: list[list[float]]) -> bool:
        """Keep a round; the answer says whether it was the last."""
        self._kept.add({"load": self._now, "samples": made})
        return self._enough()

    def forget(self) -> None:
        """Take them out of the cache."""
        self._kept.forget()


def measure_shapes(
    sizes: ModelSizes,
    models: Sequence[Shapes],
    *,
    precision: str,
    sequence: int,
    threads: int,
    checkpoint: Checkpoint | None = None,
    rounds: Rounds | None = None,
    progress: Progress = silent,
) -> list[float]:
    """Median latency, ms, of graphs with these shapes, in turns; last that of the checkpoint in PyTorch, where given.

    Args:
        rounds: of calls that were made before, which are not made again; the others are added as they come.
    """
    from edgelm.graph.external_data import save_graph
    from edgelm.graph.session import DISABLED_OPTIMIZERS
    from edgelm.graph.synthetic import encoder_graph
    from edgelm.quantize.without_data import quantize_blindly

    small = replace(sizes, vocabulary=min(sizes.vocabulary, _WORDS))
    ids: list[Any] = [[5] * sequence]
    feeds = [{"input_ids": ids, "attention_mask": [[1] * sequence], "token_type_ids": [[0] * sequence]}]
    session = {"disabled_optimizers": list(DISABLED_OPTIMIZERS)}
    provider = provider_here(sizes, precision)
    made = [] if rounds is None else rounds.read(len(models) + (checkpoint is not None))
    left = _RUNS - len(made) * BLOCK_CALLS
    if left <= 0:
        return _medians(made)
    with open_scratch() as folder, ExitStack() as stack:
        subjects = []
        for number, shapes in enumerate(models):
            progress("latency table: graphs", number, len(models))
            path, weights = folder / f"{number}.onnx", f"{number}{WEIGHTS_SUFFIX}"
            save_graph(quantize_blindly(encoder_graph(small, shapes), precision), path, weights)
            subject = Subject(path.stem, path, "onnx", precision, 0.0, session=session)
            if provider == NATIVE:
                subject = replace(subject, kind=NATIVE, path=_compiled(path, weights))
            subjects.append(subject)
        progress("latency table: graphs", len(models), len(models))
        if checkpoint is not None:
            subjects.append(Subject("pytorch", checkpoint.path, "pytorch", "fp32", 0.0))
        workers: list[WorkerClient] = []
        for subject in subjects:
            progress("latency table: processes", len(workers), len(subjects))
            workers.append(WorkerClient(subject, threads=threads))
            stack.callback(workers[-1].close)
            workers[-1].ask("prepare", feeds=feeds)
        progress("latency table: processes", len(workers), len(subjects))
        each_round = None if rounds is None else rounds.add
        made.append(take_turns(workers, _WARMUP, left, "latency table", progress, each_round=each_round))
    return _medians(made)


def _medians(rounds: list[list[list[float]]]) -> list[float]:
    """Of each graph, over all rounds."""
    return [statistics.median([one for times in made for one in times]) for made in zip(*rounds, strict=True)]


def provider_here(sizes: ModelSizes, precision: str) -> str:
    """What would run a bundle of such a model on this machine: `native`, where edgelm-native is installed, faster here
    and has words for the graph, else `cpu`."""
    return NATIVE if precision == "int8" and is_preferred() and _has_program(sizes) else "cpu"


@functools.cache
def _has_program(sizes: ModelSizes) -> bool:
    """Whether edgelm-native has words for the INT8 graph of such a model; asked for every measurement of a table."""
    from edgelm.graph.external_data import save_graph
    from edgelm.graph.native import compile_program
    from edgelm.graph.synthetic import encoder_graph
    from edgelm.quantize.without_data import quantize_blindly

    least = replace(sizes, vocabulary=1)
    with open_scratch() as folder:
        path = folder / "graph.onnx"
        save_graph(quantize_blindly(encoder_graph(least, sizes.full()[:1]), "int8"), path, "graph.bin")
        return compile_program(path, "graph.bin") is not None


def _compiled(graph: Path, weights: str) -> Path:
    """The program of a graph, saved beside it."""
    from edgelm.graph.native import compile_program

    program = compile_program(graph, weights)
    if program is None:
        raise RuntimeError(f"{graph.name} has no program, and a graph of the same operators had one")
    path = graph.with_suffix(".program")
    path.write_bytes(program)
    return path
