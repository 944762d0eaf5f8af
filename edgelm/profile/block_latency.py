"""Measures a LatencyTable: graphs of one shape a layer, in the export precision, each in a process of its own, all
taking turns."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import median_length
from edgelm.errors import InputError, UsageError
from edgelm.hardware.busy import look
from edgelm.hardware.machine import describe_machine
from edgelm.latency_table import TABLE_SCHEMA, LatencyTable, read_latency_table
from edgelm.lengths import DEFAULT_LENGTH
from edgelm.precision import precisions_for
from edgelm.profile.shape_times import CACHE, Rounds, measure_shapes, provider_here
from edgelm.progress import Progress, during, silent
from edgelm.runtime.cache import cache_folder, keep
from edgelm.runtime.session import available_cores
from edgelm.shapes import LayerShape, ModelSizes, Shapes
from edgelm.version import __version__

_FINE, _COARSE = (6, 7), (3, 4)  # sizes that are measured of attentions and of feed-forward networks
_COARSE_S = 40.0  # seconds, below which the coarse ones are measured
_TOKENS = 32
_ALIKE = 0.1  # of the uncut model's time: nearer, and the machine is as it was when the table was made
PATIENCE_S, _PAUSE = 120.0, 5.0  # seconds that a meter waits for that, in all and at a time


def find_table(
    checkpoint: Checkpoint,
    *,
    precision: str,
    sequence: int,
    threads: int | None = None,
    seconds: float | None = None,
    progress: Progress = silent,
) -> LatencyTable:
    """The table of this machine: measured once for a model's sizes, precision, length, threads and onnxruntime, then
    kept in the user's cache (`$XDG_CACHE_HOME/edgelm`), unless the machine was busy. A kept one that the uncut model
    now outruns is made anew: the cores of a virtual machine may have been far from each other then, which small
    operators pay for more than large ones.

    Args:
        seconds: that measuring may take; a table that was made in a hurry is not kept.

    Raises:
        UsageError: a precision that the CPU does not run.
        UnsupportedFamily: a model without layers.
    """
    from edgelm.anatomy.families.static import require_layers
    from edgelm.anatomy.sizes import sizes_of

    require_layers(checkpoint.family, "a latency table times")
    sizes, threads = sizes_of(checkpoint.config, task=checkpoint.task), threads or available_cores()
    what = json.dumps(_question(sizes, precision, sequence, threads))
    file = cache_folder(CACHE) / f"{hashlib.sha256(what.encode()).hexdigest()[:24]}.json"
    table = _kept(file)
    if table is not None:
        whole = measure_shapes(sizes, [sizes.full()], precision=precision, sequence=sequence, threads=threads)[0]
        if table.whole is None or whole > (1 - _ALIKE) * table.whole:
            return table
    start = time.monotonic()
    table = measure_table(
        sizes,
        precision=precision,
        sequence=sequence,
        threads=threads,
        checkpoint=checkpoint,
        seconds=seconds,
        progress=progress,
    )
    hurried = seconds is not None and (seconds < _COARSE_S or time.monotonic() - start >= seconds)
    if table.quiet and not hurried:
        keep(file, json.dumps(table.to_dict()).encode())
    return table


def _question(sizes: ModelSizes, precision: str, sequence: int, threads: int) -> list[Any]:
    """All that the times of a machine depend on."""
    machine = describe_machine()
    return [
        TABLE_SCHEMA,
        asdict(sizes),
        precision,
        sequence,
        threads,
        machine.cpu,
        machine.cores,
        machine.versions.get("onnxruntime"),
        provider_here(sizes, precision),
        __version__,
    ]


def _kept(file: Path) -> LatencyTable | None:
    """The table of the cache; None: there is none, or none that can be read."""
    try:
        return read_latency_table(file)
    except InputError:
        return None


def write_table(
    model: str | Path,
    output: Path,
    *,
    precision: str,
    sequence: int | None = None,
    data: Dataset | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> LatencyTable:
    """Measure the table of a checkpoint on this machine and write it.

    Args:
        sequence: tokens of the text that is measured; None: as `data` says, else 32, or what the model takes if that
            is less.
        data: texts whose median length is measured, as `edgelm.compress_to_budget` takes it of the same texts.

    Raises:
        UsageError: a length beside texts, a length that the model does not take, or a precision that the CPU does not
            run.
        ModelError: no checkpoint there.
        UnsupportedFamily: a model without layers.
    """
    from edgelm.anatomy.families.static import require_layers
    from edgelm.anatomy.sizes import sizes_of

    checkpoint = open_checkpoint(model)
    require_layers(checkpoint.family, "a latency table times")
    sizes = sizes_of(checkpoint.config, task=checkpoint.task)
    if data is not None:
        if sequence is not None:
            raise UsageError(
                "--sequence and --data both say how long the texts of a latency table are.", hint="Give one of them."
            )
        from edgelm.anatomy import load_tokenizer

        sequence = median_length(load_tokenizer(checkpoint), checkpoint.task, data, max_length=DEFAULT_LENGTH)
    sequence = sequence or min(_TOKENS, sizes.positions)
    if not 2 <= sequence <= sizes.positions:
        raise UsageError(
            f"a latency table is for a text of 2 to {sizes.positions} tokens, not {sequence}.",
            hint=f"Give --sequence {sizes.positions} or less.",
        )
    table = measure_table(
        sizes,
        precision=precision,
        sequence=sequence,
        threads=threads or available_cores(),
        checkpoint=checkpoint,
        progress=progress,
    )
    table.save(output, overwrite=overwrite)
    return table


def measure_table(
    sizes: ModelSizes,
    *,
    precision: str,
    sequence: int,
    threads: int,
    checkpoint: Checkpoint | None = None,
    seconds: float | None = None,
    progress: Progress = silent,
) -> LatencyTable:
    """Measure the blocks of an encoder on this machine.

    All layers of a graph have the same shape, and what a module adds is its difference to the graph without heads and
    channels: so the cost of a call, and what the layers before leave in the caches, are as in a real model.

    Each round of calls is kept in the user's cache until the table is whole: after an interruption the same table goes
    on from there. A round has calls of all graphs, so costs are compared within the same minute as ever.

    Args:
        sequence: tokens of the one text.
        checkpoint: is run in PyTorch eager FP32 beside the graphs, where given.
        seconds: after which no further round of calls follows the first; where they are few, fewer sizes of a module
            are measured, too. The rounds are kept then, and the next call goes on from there.

    Raises:
        UsageError: a precision that the CPU does not run.
    """
    known = precisions_for("onnxruntime")
    if precision not in known:
        raise UsageError(f"no latency can be measured here in {precision}.", hint=f"Choose one of: {', '.join(known)}.")
    start = time.monotonic()
    points = _COARSE if seconds is not None and seconds < _COARSE_S else _FINE
    heads, channels = (
        _points(total, count, least)
        for total, count, least in zip((sizes.heads, sizes.ffn), points, (1, 32), strict=True)
    )
    grid = [(0, 0), *((count, 0) for count in heads), *((0, count) for count in channels)]
    grid += [(sizes.heads, sizes.ffn), (max(1, sizes.heads // 2), max(1, sizes.ffn // 4))]
    load = round(look().share, 2)
    models: list[Shapes] = [(LayerShape(*point),) * sizes.layers for point in grid]
    models += [sizes.full()[: max(1, sizes.layers // 3)], ()]
    beside = None if checkpoint is None else describe_machine().versions.get("torch")

    def late() -> bool:
        return seconds is not None and time.monotonic() - start >= seconds

    rounds = Rounds([*_question(sizes, precision, sequence, threads), grid, beside], load, late)
    times = measure_shapes(
        sizes,
        models,
        precision=precision,
        sequence=sequence,
        threads=threads,
        checkpoint=checkpoint,
        rounds=rounds,
        progress=progress,
    )
    if not late():
        rounds.forget()
    cost = dict(zip(grid, times, strict=False))
    norms, rest = cost[0, 0], times[len(models) - 1]
    attention = _rising({count: (cost[count, 0] - norms) / sizes.layers for count in heads})
    ffn = _rising({count: (cost[0, count] - norms) / sizes.layers for count in channels})
    machine = describe_machine()
    table = LatencyTable(
        source="measured",
        unit="ms",
        sizes=sizes,
        precision=precision,
        sequence=sequence,
        rest=rest,
        layer=max(0.0, norms - rest) / sizes.layers,
        attention=attention,
        ffn=ffn,
        pytorch=times[-1] if checkpoint is not None else None,
        whole=cost[sizes.heads, sizes.ffn],
        machine={
            "cpu": machine.cpu,
            "threads": threads,
            "provider": provider_here(sizes, precision),
            "onnxruntime": machine.versions.get("onnxruntime"),
            "load": rounds.load,
        },
    )
    errors = [
        abs(table.predict(shapes) / found - 1)
        for shapes, found in zip(models[-4:-1], times[len(models) - 4 :], strict=False)
    ]
    return replace(table, error=max(errors))


class Meter:
    """Measures whole models of any shapes in a table's terms: beside the uncut one, so that a slow minute of the
    machine cancels out.

    What makes the uncut model slow may make a small one slower still, so a meter first waits until the machine is as it
    was when the table was made; what it then found while the uncut model was nearest to the table's is the answer.

    Args:
        patience_s: how long it waits, in all.
    """

    def __init__(
        self,
        table: LatencyTable,
        *,
        threads: int | None = None,
        patience_s: float = PATIENCE_S,
        progress: Progress = silent,
    ) -> None:
        self.table, self._progress = table, progress
        self._threads = threads or int(table.machine.get("threads") or available_cores())
        self._patience = patience_s

    def __call__(self, shapes: Shapes) -> float:
        """Milliseconds."""
        found: list[tuple[float, float]] = []
        while True:
            start = time.monotonic()
            off, cost = self._measure(shapes)
            found.append((off, cost))
            if off <= _ALIKE or self._patience < _PAUSE:  # there is no time to wait, and then to measure again
                return min(found)[1]
            with during(self._progress, "waiting for the machine to be as it was"):
                time.sleep(_PAUSE)
            self._patience -= time.monotonic() - start

    def _measure(self, shapes: Shapes) -> tuple[float, float]:
        """How far the uncut model is from its time in the table, relative, and what the other costs in the table's
        terms."""
        table = self.table
        models = [table.sizes.full(), tuple(shapes)]
        with during(self._progress, "measure the whole model"):
            whole, found = measure_shapes(
                table.sizes, models, precision=table.precision, sequence=table.sequence, threads=self._threads
            )
        usual = table.whole or whole
        return abs(whole / usual - 1), found * usual / whole


def _points(total: int, count: int, multiple: int) -> list[int]:
    """Up to `count` sizes from small to all, each about as many times the one before."""
    first = min(multiple, total)
    steps = [first * (total / first) ** (index / (count - 1)) for index in range(count)]
    return sorted({min(total, max(first, round(step / multiple) * multiple)) for step in steps} | {total})


def _rising(costs: dict[int, float]) -> dict[int, float]:
    """More units never cost less: what noise has the other way round is raised to the one before; none cost nothing."""
    found, highest = {0: 0.0}, 0.0
    for units in sorted(costs):
        highest = max(highest, costs[units])
        found[units] = highest
    return found
