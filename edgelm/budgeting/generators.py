"""Budgets of models that write: what a token, a prompt, a disk and memory may take, and the judgement of what came."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgelm import distributed as processes
from edgelm.anatomy import layer_shapes, load_checkpoint, load_tokenizer
from edgelm.anatomy.hidden import hidden_size
from edgelm.budget import Budget
from edgelm.budgeting.advice import advise_writer
from edgelm.budgeting.footprint import tokenizer_mb
from edgelm.budgeting.targets import Outcome, Verdict
from edgelm.budgeting.token_bench import Bench, Lengths, Timed
from edgelm.budgeting.token_bytes import (
    TOKENIZER_MEMORY,
    StoredBytes,
    estimate_token,
    memory_cost,
    per_token,
    size_cost,
)
from edgelm.budgeting.token_probe import longest_text
from edgelm.budgeting.token_times import TokenTimes, find_times
from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.compress.pipeline import CompressResult
from edgelm.compress.pruning.constraints import Constraint, Constraints
from edgelm.compress.pruning.token_weights import count_weights
from edgelm.device import Device
from edgelm.errors import UsageError
from edgelm.export.prepare import check_task_precision, meant_precision
from edgelm.metrics.judge import token_nats
from edgelm.progress import Progress, silent
from edgelm.quantize.target import target_of
from edgelm.shapes import LayerShape, Shapes, by_origin
from edgelm.token_cost import TokenCost

if TYPE_CHECKING:
    from typing_extensions import Self

GENERATOR_RECIPE = "generator-one-shot"  # where none is named
LATENCY, WEIGHTS, FIRST_TOKEN, SIZE, MEMORY, DROP = "latency", "weights", "first-token", "size", "memory", "drop"
_CLOSE = 1.02  # of what is allowed


@dataclass(frozen=True, kw_only=True)
class _Meter:
    """Measures whole models; each kind says in what terms.

    Attributes:
        bench: where they run.
        first: whether the first token is bounded, so that it is timed with the token.
        tokens: that the models know; None: all.
        hidden: how wide their hidden states are, beside the uncut one's.
    """

    bench: Bench
    first: bool
    tokens: int | None = None
    hidden: float = 1.0

    def timed(self, shapes: Shapes) -> Timed:
        """What a model of these shapes takes."""
        return self.bench.time(shapes, self.tokens, first=self.first, hidden=self.hidden)

    def with_vocabulary(self, tokens: int) -> Self:
        """For models of so many tokens."""
        return replace(self, tokens=tokens)

    def narrowed(self, share: float) -> Self:
        """For models whose hidden states are `share` as wide."""
        return replace(self, hidden=share)


@dataclass(frozen=True, kw_only=True)
class TimeMeter(_Meter):
    """Measures a time in the terms of a table.

    Attributes:
        name: of the bound: latency or first-token.
        whole: what the uncut model takes by the table, ms.
    """

    name: str
    whole: float

    def __call__(self, shapes: Shapes) -> float:
        """Milliseconds."""
        return self.ms(self.timed(shapes))

    def ms(self, timed: Timed) -> float:
        """Milliseconds of what was timed beside the uncut model."""
        return self.whole * float((timed.token if self.name == LATENCY else timed.first) or math.nan)


@dataclass(frozen=True, kw_only=True)
class MemoryMeter(_Meter):
    """Measures the memory of models that run without their tokenizer.

    Attributes:
        beside: what that takes, 10^6 bytes.
    """

    beside: float

    def __call__(self, shapes: Shapes) -> float:
        """10^6 bytes."""
        return self.timed(shapes).memory_mb + self.beside


class WriterTargets:
    """What budgets ask of one model that writes, on a device; its bundles that are timed go with it.

    Attributes:
        lengths: what times are meant at.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: Device,
        precision: str = "int8",
        embedding_bits: int | None = None,
        context: int | None = None,
        prompt_length: int | None = None,
        allow_pickle: bool = False,
        progress: Progress = silent,
    ) -> None:
        """Take a model.

        Args:
            precision: of the bundle that will be exported.
            embedding_bits: of the compressed model's tables; None: those of this one.
            context, prompt_length: in tokens; None: what is usual.

        Raises:
            UsageError: lengths that the model does not hold.
            ModelError: as `load_checkpoint`.
        """
        self.lengths = Lengths.of(checkpoint, context, prompt_length)
        self._checkpoint, self._device, self._precision = checkpoint, device, meant_precision(precision)
        self._progress = progress
        self._bits = embedding_bits or checkpoint.record.embedding_bits
        self._stored = StoredBytes(device, precision, longest_text(checkpoint), self._bits)
        self._tokenizer_mb = tokenizer_mb(checkpoint)
        self._model = load_checkpoint(checkpoint, allow_pickle=allow_pickle)
        self._shapes: Shapes = layer_shapes(self._model)
        self._hidden = hidden_size(self._model)
        self._bench = Bench(
            self._model,
            checkpoint,
            self.lengths,
            device=device,
            precision=precision,
            embedding_bits=self._bits,
        )
        self._times: TokenTimes | None = None

    def __enter__(self) -> WriterTargets:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bench.__exit__(kind, error, at)

    @property
    def here(self) -> bool:
        """Whether this machine is the device, so that bundles can be timed."""
        return target_of(self._device).here

    @property
    def times(self) -> TokenTimes:
        """What was measured here, when it is first asked for."""
        if self._times is None:
            self._times = processes.on_main(lambda: find_times(self._bench, progress=self._progress))
        return self._times

    @property
    def whole_ms(self) -> float:
        """A token of the uncut model."""
        return self.times.whole[0] if self.here else self._token_cost.predict(self._shapes)

    def resolve(self, budget: Budget) -> WriterBudget:
        """What a budget means for the model.

        Raises:
            UsageError: a precision that the device does not run such models in, or a time that nothing says of a
                device that is not here.
        """
        return WriterBudget(self, budget, self._goal(budget))

    def _goal(self, budget: Budget) -> Constraints:
        if budget:
            check_task_precision(self._checkpoint.task, self._device, self._precision)
        bounds: list[Constraint] = []
        if budget.max_latency_ms is not None or budget.speedup is not None:
            bounds.append(self._latency(budget))
        if budget.max_first_token_ms is not None:
            bounds.append(self._first_token(budget.max_first_token_ms))
        each = per_token(self._model, self._stored)
        if budget.max_size_mb is not None:
            cost = size_cost(self._model, self._stored, self._checkpoint.task, tokenizer_mb=self._tokenizer_mb)
            letters = self._tokenizer_mb / cost.vocabulary
            bounds.append(Constraint(SIZE, cost, budget.max_size_mb, per_token=each + letters))
        if budget.max_memory_mb is not None:
            cost = memory_cost(self._model, self._stored, tokenizer_mb=self._tokenizer_mb, context=self.lengths.context)
            beside = TOKENIZER_MEMORY * self._tokenizer_mb
            first = budget.max_first_token_ms is not None
            meter = MemoryMeter(bench=self._bench, beside=beside, first=first) if self.here else None
            bounds.append(Constraint(MEMORY, cost, budget.max_memory_mb, meter, per_token=2 * each))
        return Constraints(tuple(bounds))

    def outcome(self, budget: Budget, goal: Constraints, result: CompressResult) -> Outcome:
        """The result with its verdicts, and what each sublayer costs; where something is bounded and this machine is
        the device, as it was measured here."""
        made = open_checkpoint(result.path)
        shapes = made.record.layers or self._shapes
        bounds = goal.bounds
        timed = self._timed(made, budget) if bounds and self.here else None
        verdicts = [self._judge(bound, made, shapes, timed) for bound in bounds]
        if budget.max_drop is not None:
            verdicts.append(judge_drop(budget.max_drop, result, advise_writer(DROP, made.record)))
        costs = bounds[0].table if bounds else count_weights(self._model)
        assert isinstance(costs, TokenCost)
        left = made.record.hidden
        costs = costs if left is None else costs.narrowed(left.kept / self._hidden)
        return Outcome(result, tuple(verdicts), tuple(self._rows(costs, shapes)), costs.unit)

    @property
    def _token_cost(self) -> TokenCost:
        if self.here:
            return self.times.token
        return estimate_token(self._model, self._stored, self._device, context=self.lengths.context)

    def _latency(self, budget: Budget) -> Constraint:
        if not self.here and budget.max_latency_ms is None and budget.speedup is not None:  # no time is asked for
            counted = count_weights(self._model)
            allowed_weights = counted.predict(self._shapes) / budget.speedup
            return Constraint(WEIGHTS, counted, allowed_weights, per_token=counted.rest / counted.vocabulary)
        cost = self._token_cost
        allowed = [] if budget.max_latency_ms is None else [budget.max_latency_ms]
        allowed += [] if budget.speedup is None else [self.whole_ms / budget.speedup]
        if not self.here:
            head = per_token(self._model, self._stored) / (self._device.bandwidth_gb_s or math.inf)
            return Constraint(LATENCY, cost, min(allowed), per_token=head)
        first = budget.max_first_token_ms is not None
        meter = TimeMeter(bench=self._bench, name=LATENCY, whole=self.times.whole[0], first=first)
        return Constraint(LATENCY, cost, min(allowed), meter, per_token=self.times.per_token[0])

    def _first_token(self, allowed: float) -> Constraint:
        if not self.here:
            raise UsageError(
                f"what a prompt takes on {self._device.name} can only be measured there.",
                hint="Bound the time of a token (--max-latency), or run edgelm on the device with --device cpu.",
            )
        meter = TimeMeter(bench=self._bench, name=FIRST_TOKEN, whole=self.times.whole[1], first=True)
        return Constraint(FIRST_TOKEN, self.times.first, allowed, meter, per_token=self.times.per_token[1])

    def _timed(self, made: Checkpoint, budget: Budget) -> Timed:
        """What came out, as a bundle on this machine."""
        first = budget.max_first_token_ms is not None
        return processes.on_main(
            lambda: self._bench.time_model(
                load_checkpoint(made),
                first=first,
                checkpoint=made,
                tokenizer=load_tokenizer(made),
                embedding_bits=made.record.embedding_bits,
            )
        )

    def _judge(self, bound: Constraint, made: Checkpoint, shapes: Shapes, timed: Timed | None) -> Verdict:
        left = made.record.hidden
        bound = bound.narrowed(1.0 if left is None else left.kept / self._hidden)
        cost = bound.with_vocabulary(int(made.config["vocab_size"])).table
        assert isinstance(cost, TokenCost)
        got, source, band = cost.predict(shapes), cost.source, cost.band
        if timed is not None:
            source = "measured"
            if isinstance(bound.measure, TimeMeter):
                got = bound.measure.ms(timed)
                source += "" if self.times.quiet else " on a busy machine"
            else:
                got = timed.size_mb if bound.name == SIZE else timed.memory_mb
        met = got <= _CLOSE * bound.allowed
        between = None if band is None else (band[0] * got, band[1] * got)
        advice = advise_writer(bound.name, made.record)
        return Verdict(bound.name, cost.unit, bound.allowed, got, source, met, advice, between)

    def _rows(self, costs: TokenCost, shapes: Shapes) -> list[dict[str, Any]]:
        """For each layer of the original what is left, of how much, and what that costs."""
        left = by_origin(shapes)
        rows = []
        for number, before in enumerate(self._shapes):
            shape = left.get(number, LayerShape(0, 0, cross=None if before.cross is None else 0, stack=before.stack))
            found = {kind: values[0] for kind, values in costs.layer_costs([shape]).items()}
            row = {"layer": number, "stack": before.stack, "norms_cost": 0.0}
            for kind, name in (("attention", "heads"), ("cross", "cross"), ("ffn", "ffn")):
                if getattr(before, name) is not None:
                    row |= {name: getattr(shape, name), f"{name}_before": getattr(before, name)}
                    row[f"{kind}_cost"] = found[kind]
            rows.append(row)
        return rows


@dataclass(frozen=True)
class WriterBudget:
    """One budget of a model that writes, as `edgelm.budgeting.targets.BudgetTargets` is of others."""

    targets: WriterTargets
    budget: Budget
    goal: Constraints

    @property
    def whole(self) -> float:
        """What a token of the uncut model takes, ms."""
        return self.targets.whole_ms

    def outcome(self, result: CompressResult) -> Outcome:
        """The result with its verdicts."""
        return self.targets.outcome(self.budget, self.goal, result)


def judge_drop(allowed: float, result: CompressResult, advice: str) -> Verdict:
    """What was lost on the evaluation rows: points of BLEU or ROUGE; of perplexity, percent that it rose, per byte of
    text where tokens are not the same any more, in terms of the original's tokens."""
    before = result.original["metrics"]
    after = result.record.stages[-1].after if result.record.stages else before
    metric = result.record.task.metric
    if "perplexity" in before and metric not in ("bleu", "rougeL"):
        lost = 100 * (math.exp(token_nats(after, before) - math.log(before["perplexity"])) - 1)
        unit = "% of perplexity"
    else:
        lost = (before[metric] - after[metric]) * (1 if metric == "bleu" else 100)
        unit = f"points of {metric}"
    return Verdict(DROP, unit, allowed, lost, "measured", lost <= allowed + 1e-9, advice)
