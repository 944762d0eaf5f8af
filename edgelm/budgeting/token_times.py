"""What a token and a prompt take on this machine, by the shapes of a model's layers: whole models of some shapes are
timed beside the uncut one, and what each sublayer adds is fitted to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from edgelm.anatomy import layer_shapes
from edgelm.budgeting.token_bench import Bench
from edgelm.hardware.busy import look
from edgelm.hardware.machine import QUIET, describe_machine
from edgelm.measured_rows import MeasuredRows
from edgelm.progress import Progress, silent
from edgelm.runtime.cache import cache_folder, keep
from edgelm.shapes import LayerShape, Shapes
from edgelm.token_cost import TokenCost
from edgelm.version import __version__

_SCHEMA = 1
_CACHE = "token-times"  # folder of the user's cache
_ALIKE = 0.1  # of the uncut model's time: if it is faster by more, the machine was busy when the times were taken
_NOT_SIZES = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "auto_map")
_Kinds = tuple[tuple[str, str], ...]  # stack and kind of sublayers


@dataclass(frozen=True)
class TokenTimes:
    """Times of a model on this machine, in ms.

    Attributes:
        token, first: of a token behind the context, and of a prompt up to its first token.
        whole: of the uncut model: a token, a prompt.
        per_token: what one token of the vocabulary adds to each.
        error: of the sums of sublayers against the models that were timed, relative: largest of each.
        machine: where: cpu, threads, runtime, and `load`: share of its cores that others used just before.
    """

    token: TokenCost
    first: TokenCost
    whole: tuple[float, float]
    per_token: tuple[float, float]
    error: tuple[float, float]
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def quiet(self) -> bool:
        """Whether the machine had little else to do."""
        return float(self.machine.get("load", 0.0)) <= QUIET

    def to_json(self) -> str:
        """For the cache."""
        return json.dumps({"edgelm_token_times": _SCHEMA} | asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TokenTimes:
        """The inverse of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        values = json.loads(text)
        if values.pop("edgelm_token_times") != _SCHEMA:
            raise ValueError("another schema")
        token, first = (TokenCost.from_dict(values[name]) for name in ("token", "first"))
        whole, per_token, error = (tuple(map(float, values[name])) for name in ("whole", "per_token", "error"))
        return cls(token, first, whole[:2], per_token[:2], error[:2], values["machine"])  # type: ignore[arg-type]


def find_times(bench: Bench, *, progress: Progress = silent) -> TokenTimes:
    """The times of this machine: measured once for a model's sizes, precision, lengths, threads and onnxruntime, then
    kept in the user's cache (`$XDG_CACHE_HOME/edgelm`), unless the machine was busy; kept ones that the uncut model now
    outruns are taken anew."""
    machine, model = describe_machine(), bench.model
    sizes = {name: value for name, value in model.config.to_dict().items() if name not in _NOT_SIZES}
    what = [
        _SCHEMA,
        sizes,
        [asdict(shape) for shape in layer_shapes(model)],
        bench.precision,
        bench.embedding_bits,
        asdict(bench.lengths),
        bench.threads,
        machine.cpu,
        machine.cores,
        machine.versions.get("onnxruntime"),
        __version__,
    ]
    rows = MeasuredRows(_CACHE, what)
    file = cache_folder(_CACHE) / f"{rows.name}.json"
    known = _read(file)
    if known is not None:
        bench.settle()
        if bench.token_ms > (1 - _ALIKE) * known.whole[0]:
            return known
    found = measure_times(bench, kept=rows, progress=progress)
    rows.forget()
    if found.quiet:
        keep(file, found.to_json().encode())
    return found


def _read(file: Path) -> TokenTimes | None:
    """What is kept there; None: nothing, or nothing that can be read."""
    try:
        return TokenTimes.from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def measure_times(bench: Bench, *, kept: MeasuredRows | None = None, progress: Progress = silent) -> TokenTimes:
    """Time models of some shapes, each beside the uncut one, and fit costs of sublayers to them that are not below 0:
    one for each sublayer that is there, and one for each of its units (Lawson and Hanson, 1974).

    Args:
        kept: models that were timed before, which are not timed again, and takes up the others as they come.
    """
    load = round(look().share, 2)
    full = layer_shapes(bench.model)
    kinds = _kinds(full)
    tokens = int(bench.model.get_output_embeddings().weight.shape[0])
    models = [(full, tokens), *((shapes, tokens) for shapes in _parts(full, kinds)), (full, tokens // 2)]
    models.append((_mixture(full), tokens * 3 // 4))  # not fitted to: how far off the sums are elsewhere
    rows = [_features(shapes, known, kinds) for shapes, known in models]
    timed = _taken_up(kept)[: len(models)]
    for shapes, known in models[len(timed) :]:
        progress("times of a token", len(timed), len(models))
        found = bench.time(shapes, known, first=True)
        timed.append(_Row(found.token or 0.0, found.first or 0.0, bench.token_ms, bench.first_ms, load))
        if kept is not None:
            kept.add(asdict(timed[-1]))
    progress("times of a token", len(models), len(models))
    load = max(row.load for row in timed)
    bench.token_ms = min(bench.token_ms, *(row.token_ms for row in timed))
    bench.first_ms = min(bench.first_ms, *(row.first_ms for row in timed))
    machine = describe_machine()
    about = {"cpu": machine.cpu, "threads": bench.threads, "onnxruntime": machine.versions.get("onnxruntime")}
    fitted = []
    for whole, ratios in (
        (bench.token_ms, [row.token for row in timed]),
        (bench.first_ms, [row.first for row in timed]),
    ):
        costs = _fit(rows[:-1], [1.0, *ratios[1:-1]])
        sums = [float(np.dot(row, costs)) for row in rows]
        error = max(abs(total / ratio - 1) for total, ratio in zip(sums[1:], ratios[1:], strict=True))
        fitted.append((_as_cost(costs * whole, kinds, tokens), whole, costs[1] * whole, error))
    token, first = fitted
    return TokenTimes(
        token[0],
        first[0],
        whole=(token[1], first[1]),
        per_token=(float(token[2]), float(first[2])),
        error=(token[3], first[3]),
        machine=about | {"load": load},
    )


@dataclass(frozen=True)
class _Row:
    """A model that was timed: against the uncut one a token and a prompt, what these take of the uncut one, and which
    share of the machine others had."""

    token: float
    first: float
    token_ms: float
    first_ms: float
    load: float


def _taken_up(kept: MeasuredRows | None) -> list[_Row]:
    """What an interrupted measurement has; nothing, where somebody changed it."""
    try:
        return [_Row(**{name: float(value) for name, value in row.items()}) for row in (kept.rows if kept else [])]
    except (AttributeError, TypeError, ValueError):
        assert kept is not None
        kept.forget()
        return []


def _kinds(full: Shapes) -> _Kinds:
    """Stacks and kinds of the sublayers that there are."""
    found = [(shape.stack, kind) for shape in full for kind, units in shape.units.items() if units]
    return tuple(dict.fromkeys(found))


def _parts(full: Shapes, kinds: _Kinds) -> list[Shapes]:
    """Models that lack something: all but the first sublayer of a kind, some of the units of each, two thirds of the
    layers of a stack."""
    found: list[Shapes] = []
    for stack, kind in kinds:
        own = [number for number, shape in enumerate(full) if shape.stack == stack]
        gone = [number for number in own if full[number].units[kind]][1:]
        without = [_with(shape, kind, 0) if number in gone else shape for number, shape in enumerate(full)]
        found.append(tuple(shape for shape in without if not shape.empty))
        share = 4 if kind == "ffn" else 2
        found.append(
            tuple(
                _with(shape, kind, max(1, shape.units[kind] // share)) if number in own else shape
                for number, shape in enumerate(full)
            )
        )
    for stack in dict.fromkeys(stack for stack, _ in kinds):
        own = [number for number, shape in enumerate(full) if shape.stack == stack]
        gone = own[max(1, len(own) // 3) :]
        found.append(tuple(shape for number, shape in enumerate(full) if number not in gone))
    return [shapes for shapes in dict.fromkeys(map(tuple, found)) if shapes != tuple(full)]


def _mixture(full: Shapes) -> Shapes:
    """Fewer layers that are narrower, of every stack."""
    kept = [number for number in range(len(full)) if number % 2 == 0 or full[number].stack != full[number - 1].stack]
    return tuple(
        replace(
            full[number],
            heads=max(1, full[number].heads * 2 // 3),
            ffn=max(1, full[number].ffn // 2),
            cross=None if full[number].cross is None else max(1, (full[number].cross or 0) * 2 // 3),
        )
        for number in kept
    )


def _with(shape: LayerShape, kind: str, units: int) -> LayerShape:
    """The shape with so many units of a kind."""
    if kind == "attention":
        return replace(shape, heads=units)
    return replace(shape, cross=units) if kind == "cross" else replace(shape, ffn=units)


def _features(shapes: Shapes, tokens: int, kinds: _Kinds) -> np.ndarray:
    """What costs are multiplied with: one, tokens, and for each kind its sublayers and its units."""
    row = [1.0, float(tokens)]
    for stack, kind in kinds:
        units = [shape.units[kind] for shape in shapes if shape.stack == stack]
        row += [float(sum(count > 0 for count in units)), float(sum(units))]
    return np.array(row)


def _fit(rows: Sequence[np.ndarray], ratios: Sequence[float]) -> np.ndarray:
    """Costs, none below 0, with the least sum of squared relative errors."""
    matrix = np.stack(rows)
    scale = matrix.max(axis=0)
    wanted = np.array(ratios)
    found, _ = nnls(matrix / scale / wanted[:, None], np.ones(len(wanted)))
    costs: np.ndarray = found / scale
    return costs


def _as_cost(costs: np.ndarray, kinds: _Kinds, tokens: int) -> TokenCost:
    units: dict[str, dict[str, float]] = {}
    fixed: dict[str, dict[str, float]] = {}
    for number, (stack, kind) in enumerate(kinds):
        fixed.setdefault(stack, {})[kind] = float(costs[2 + 2 * number])
        units.setdefault(stack, {})[kind] = float(costs[3 + 2 * number])
    rest = float(costs[0] + costs[1] * tokens)
    return TokenCost("ms", rest, units, vocabulary=tokens, source="measured", fixed=fixed)
