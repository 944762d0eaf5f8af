"""Turns a budget into constraints on a model for a device (time, size, memory), and judges the result against them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgelm import distributed as processes
from edgelm.anatomy import load_tokenizer
from edgelm.anatomy.sizes import sizes_of
from edgelm.budget import Budget
from edgelm.budgeting.advice import advise
from edgelm.budgeting.footprint import PROCESS_MB, estimate, row_bytes, size_table, tokenizer_mb
from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.compress.pipeline import CompressResult
from edgelm.compress.pruning.constraints import Constraint, Constraints
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import median_length
from edgelm.device import Device, check_precision
from edgelm.errors import UsageError
from edgelm.hardware.machine import describe_machine
from edgelm.latency_table import LatencyTable, count_operations
from edgelm.notebook import result_html
from edgelm.profile.block_latency import PATIENCE_S, Meter, find_table
from edgelm.progress import Progress, silent
from edgelm.quantize.target import target_of
from edgelm.recipe import Recipe
from edgelm.shapes import LayerShape, ModelSizes, Shapes, by_origin

_CLOSE = 1.02  # of a bound: a measurement is no surer than that


@dataclass(frozen=True)
class Verdict:
    """One bound of a budget: what was asked, what came, and from where the figure is: measured, estimated or counted.

    Attributes:
        band: between which figures a measurement is expected, where it is an estimate that knows; None otherwise.
    """

    name: str
    unit: str
    asked: float
    got: float
    source: str
    met: bool
    advice: str
    band: tuple[float, float] | None = None


@dataclass(frozen=True)
class Outcome:
    """A compressed model and how it stands to its budget; `layers`: as `layer_costs` gives them."""

    result: CompressResult
    verdicts: tuple[Verdict, ...]
    layers: tuple[dict[str, Any], ...]
    cost_unit: str

    @property
    def met(self) -> bool:
        """Whether every bound holds."""
        return all(verdict.met for verdict in self.verdicts)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return result_html(self.result, self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm compress --json` prints."""
        budget = [asdict(verdict) for verdict in self.verdicts]
        return self.result.to_dict() | {"budget": budget, "layers": list(self.layers), "cost_unit": self.cost_unit}


@dataclass(frozen=True)
class BudgetTargets:
    """What a budget asks of a model on a device.

    Attributes:
        sequence: median length of the user's texts, in tokens; a table that was made elsewhere may be for another.
        device: where the bundle will run.
        goal: what the recipe's `fit` stages targets at.
        table: what blocks cost in time; None where the budget does not bound it.
    """

    budget: Budget
    sizes: ModelSizes
    precision: str
    sequence: int
    device: Device
    goal: Constraints
    table: LatencyTable | None

    @property
    def cost_table(self) -> LatencyTable:
        """What blocks cost: in time or, where nothing bounds that, in operations."""
        return self.table or count_operations(self.sizes, self.sequence)

    @property
    def whole(self) -> float:
        """What the uncut model costs by that table."""
        return self.cost_table.predict(self.sizes.full())

    def _judge(self, result: CompressResult, checkpoint: Checkpoint, shapes: Shapes) -> list[Verdict]:
        """Every bound against what the compressed model costs and loses."""
        sizes = replace(self.sizes, vocabulary=int(checkpoint.config["vocab_size"]))
        found = []
        advice = functools.partial(
            advise, record=checkpoint.record, precision=self.precision, device=self.device, layers=len(shapes)
        )
        for bound in self.goal.bounds:
            table = bound.table
            assert isinstance(table, LatencyTable)  # as `resolve_budget` made it
            of_time = table
            if bound.name != "latency":
                table = _table_of(
                    bound.name,
                    sizes,
                    self.precision,
                    self.device,
                    tokenizer_mb(checkpoint),
                    checkpoint.record.embedding_bits,
                )
            got = replace(bound, table=table).cost(shapes)
            source = "measured" if bound.measure else table.source
            if not of_time.quiet:
                source += " on a busy machine"
            if bound.name == "latency" and table.sequence != self.sequence:
                source += f" at {table.sequence} tokens; your texts have {self.sequence}"
            band = None if table.band is None else (table.band[0] * got, table.band[1] * got)
            met = got <= _CLOSE * bound.allowed
            found.append(
                Verdict(
                    bound.name, table.unit, bound.allowed, got, source, met, advice(bound.name, bound.allowed), band
                )
            )
        if self.budget.max_drop is not None:
            found.append(_drop(self.budget.max_drop, result, advice("drop", self.budget.max_drop)))
        return found

    def outcome(self, result: CompressResult) -> Outcome:
        """The result with its verdicts, and what each layer costs: in time, or where nothing bounds that in
        operations."""
        checkpoint = open_checkpoint(result.path)
        table = self.cost_table
        shapes = checkpoint.record.layers or sizes_of(checkpoint.config, task=checkpoint.task).full()
        return Outcome(
            result,
            tuple(self._judge(result, checkpoint, shapes)),
            tuple(layer_costs(table, self.sizes, shapes)),
            table.unit,
        )


def resolve_budget(
    budget: Budget,
    checkpoint: Checkpoint,
    rows: Dataset,
    *,
    precision: str,
    device: Device,
    max_length: int = 128,
    embedding_bits: int | None = None,
    table: LatencyTable | None = None,
    threads: int | None = None,
    patience_s: float = PATIENCE_S,
    table_s: float | None = None,
    progress: Progress = silent,
) -> BudgetTargets:
    """Find out what the bounds mean for this model on this device.

    Args:
        rows: the user's texts; times are meant at their median length, cut to `max_length` tokens.
        embedding_bits: of the compressed model; None: those of this one.
        table: made on the device; None: measured here for a CPU, estimated from the device's figures otherwise.
        table_s: seconds that measuring a table may take; None: as long as it takes.
        patience_s: how long measuring of whole models waits for the machine to be as it was when the table was made.

    Raises:
        UsageError: a precision that the device does not run, a table of another model, or a speed-up with nothing to
            compare to.
    """
    check_precision(device, precision)
    if budget.max_first_token_ms is not None:
        raise UsageError(
            "--max-first-token is for models that write texts.", hint=f"Give --max-latency for {checkpoint.task.kind}."
        )
    sizes = sizes_of(checkpoint.config, task=checkpoint.task)
    sequence = median_length(load_tokenizer(checkpoint), checkpoint.task, rows, max_length=max_length)
    letters_mb, bits = tokenizer_mb(checkpoint), embedding_bits or checkpoint.record.embedding_bits
    bounds: list[Constraint] = []
    if budget.limits_time:
        if table is None and target_of(device).here:
            found = functools.partial(
                find_table,
                precision=precision,
                sequence=sequence,
                threads=threads,
                seconds=table_s,
                progress=progress,
            )
            table = processes.on_main(lambda: found(checkpoint))  # times differ from process to process
        elif table is None:
            table = estimate(device, sizes, precision, sequence)
        _check_table(table, sizes, precision)
        here = processes.same(_is_here(table))
        meter = Meter(table, patience_s=patience_s, progress=progress) if here else None
        bounds.append(Constraint("latency", table, _allowed_ms(budget, table), meter))
    for name, allowed in (("size", budget.max_size_mb), ("memory", budget.max_memory_mb)):
        if allowed is not None:
            per_token = row_bytes(sizes, precision, device, bits) / 1e6 + (
                letters_mb / sizes.vocabulary if name == "size" else 0.0
            )
            bounds.append(
                Constraint(
                    name, _table_of(name, sizes, precision, device, letters_mb, bits), allowed, per_token=per_token
                )
            )
    return BudgetTargets(budget, sizes, precision, sequence, device, Constraints(tuple(bounds)), table)


def default_recipe(budget: Budget) -> str:
    """The recipe for a budget: where size counts, its vocabulary too is cut."""
    if budget.max_size_mb is not None or budget.max_memory_mb is not None:
        return "compact"
    return "budget" if budget else "balanced"


def check_recipe(recipe: Recipe, goal: Constraints | None) -> None:
    """Refuse a recipe that does not look at the budget's bounds.

    Raises:
        UsageError: it has no `fit` stage.
    """
    if goal is not None and not any(stage.stage == "fit" for stage in recipe.stages):
        raise UsageError(
            f"recipe {recipe.name} has no fit stage, so it cannot keep to a budget.",
            hint="Recipes that can: budget, compact and one-shot; for models that write generator-one-shot.",
        )


def layer_costs(table: LatencyTable, original: ModelSizes, shapes: Shapes) -> list[dict[str, Any]]:
    """For each layer the heads and channels that are left, of how many, and what they cost, in the table's unit;
    nothing where it is gone."""
    left = by_origin(shapes)
    costs = dict(zip(left, zip(*table.layer_costs(shapes).values(), strict=True), strict=True))
    rows = []
    for number in sorted({*left, *range(original.layers)}):
        shape = left.get(number, LayerShape(0, 0))
        attention, ffn, norms = costs.get(number, (0.0, 0.0, 0.0))
        rows.append(
            {
                "layer": number,
                "heads": shape.heads,
                "heads_before": original.heads,
                "ffn": shape.ffn,
                "ffn_before": original.ffn,
                "attention_cost": attention,
                "ffn_cost": ffn,
                "norms_cost": norms,
            }
        )
    return rows


def _table_of(
    name: str, sizes: ModelSizes, precision: str, device: Device, letters_mb: float, embedding_bits: int
) -> LatencyTable:
    """Bytes on disk; in memory they lie on top of what any such process takes, which makes it an estimate."""
    table = size_table(sizes, precision, device, tokenizer_mb=letters_mb, embedding_bits=embedding_bits)
    if name == "size":
        return table
    return replace(table, source="estimated", rest=table.rest - letters_mb + PROCESS_MB)


def _allowed_ms(budget: Budget, table: LatencyTable) -> float:
    allowed = [] if budget.max_latency_ms is None else [budget.max_latency_ms]
    if budget.speedup is not None:
        if table.pytorch is None:
            raise UsageError(
                "--speedup is over the original model in PyTorch, which was not measured beside this latency table.",
                hint="Give --max-latency, or make the table where the model's weights are.",
            )
        allowed.append(table.pytorch / budget.speedup)
    return min(allowed)


def _check_table(table: LatencyTable, sizes: ModelSizes, precision: str) -> None:
    what: Mapping[str, tuple[object, object]] = {
        "precision": (table.precision, precision),
        "width": (table.sizes.hidden, sizes.hidden),
        "head size": (table.sizes.head_size, sizes.head_size),
        "number of layers": (table.sizes.layers, sizes.layers),
    }
    for name, (theirs, ours) in what.items():
        if theirs != ours:
            raise UsageError(
                f"the latency table is for a {name} of {theirs}; this model and --precision need {ours}.",
                hint="Make one with `edgelm latency-table MODEL --output FILE`.",
            )


def _is_here(table: LatencyTable) -> bool:
    """Whether the table was measured on this machine, by this onnxruntime: then whole models can be measured too."""
    machine = describe_machine()
    there = (table.machine.get("cpu"), table.machine.get("onnxruntime"))
    return table.source == "measured" and there == (machine.cpu, machine.versions.get("onnxruntime"))


def _drop(allowed: float, result: CompressResult, advice: str) -> Verdict:
    """Points of the task's metric that were lost on the evaluation rows; of agreement, where they have no labels."""
    before, after = (
        result.original["metrics"],
        result.record.stages[-1].after if result.record.stages else result.original["metrics"],
    )
    metric = result.record.task.metric if result.record.task.metric in after else "agreement"
    lost = 100 * (before[metric] - after[metric])
    return Verdict("drop", f"points of {metric}", allowed, lost, "measured", lost <= allowed + 1e-9, advice)
