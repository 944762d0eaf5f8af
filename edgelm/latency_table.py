"""The noun LatencyTable: what each block of an encoder costs on a device, by its heads and channels."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgelm.errors import InputError
from edgelm.field_types import check_types
from edgelm.files.output import staged_output
from edgelm.hardware.machine import QUIET
from edgelm.limits import read_json
from edgelm.shapes import LayerShape, ModelSizes, Shapes, token_shares

TABLE_SCHEMA = 2
_BYTES = "MB"  # of weights: whatever a layer reads, it weighs the same


@dataclass(frozen=True)
class LatencyTable:
    """Costs of blocks.

    Attributes:
        source: measured, estimated (from a device's figures) or counted (operations, not time).
        unit: ms, or 10^6 operations.
        sizes: of the model that it was made for.
        precision: of the graphs.
        sequence: tokens of the text, batch 1.
        rest: the model without any layer: embeddings, head.
        layer: what a layer adds without any head or channel: its norms.
        attention, ffn: what so many heads or channels of one layer add.
        pytorch: the whole model in PyTorch eager FP32 beside the measurement, or None.
        whole: the whole model, measured; None where nothing was.
        error: of the sum of its parts against whole models that were measured, relative: largest.
        band: of an estimate: what a measurement is expected to be, from so many times it to so many times it; None
            where it was measured.
        machine: where: cpu, threads, runtime, and `load`: share of its cores that others used just before.
    """

    source: str
    unit: str
    sizes: ModelSizes
    precision: str
    sequence: int
    rest: float
    layer: float
    attention: Mapping[int, float]
    ffn: Mapping[int, float]
    pytorch: float | None = None
    whole: float | None = None
    error: float | None = None
    band: tuple[float, float] | None = None
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def quiet(self) -> bool:
        """Whether it was measured on a machine that had little else to do: small operators suffer most from other
        work."""
        return float(self.machine.get("load", 0.0)) <= QUIET

    def module_cost(self, kind: str, units: int) -> float:
        """What an attention with so many heads, or an FFN with so many channels, adds; linear between entries."""
        return _between(self.attention if kind == "attention" else self.ffn, units)

    def layer_cost(self, heads: int, channels: int) -> float:
        """What a layer adds; none without heads and channels, for it is then left out."""
        if not heads and not channels:
            return 0.0
        return self.layer + self.module_cost("attention", heads) + self.module_cost("ffn", channels)

    def shape_cost(self, shape: LayerShape) -> float:
        """What a layer of this shape adds."""
        return self.layer_cost(shape.heads, shape.ffn)

    def predict(self, shapes: Shapes) -> float:
        """The cost of a whole model of these shapes; layers that read half of the tokens are taken to cost half."""
        shares = self._shares(shapes)
        return self.rest + sum(share * self.shape_cost(shape) for share, shape in zip(shares, shapes, strict=True))

    def _shares(self, shapes: Shapes) -> list[float]:
        return [1.0] * len(shapes) if self.unit == _BYTES else token_shares([shape.halves for shape in shapes])

    def layer_costs(self, shapes: Shapes) -> dict[str, list[float]]:
        """What `attention`, `ffn` and `norms` of each layer add."""
        shared = list(zip(self._shares(shapes), shapes, strict=True))
        return {
            "attention": [share * self.module_cost("attention", shape.heads) for share, shape in shared],
            "ffn": [share * self.module_cost("ffn", shape.ffn) for share, shape in shared],
            "norms": [share * self.layer for share, _ in shared],
        }

    def with_vocabulary(self, tokens: int, per_token: float) -> LatencyTable:
        """For a model of so many tokens, each of which costs `per_token`."""
        rest = self.rest - per_token * (self.sizes.vocabulary - tokens)
        return replace(self, rest=rest, sizes=replace(self.sizes, vocabulary=tokens))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"edgelm_latency": TABLE_SCHEMA} | asdict(self)

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write it as JSON.

        Raises:
            OutputExistsError, ResourceError: as `staged_output`.
        """
        with staged_output(path, overwrite=overwrite) as aside:
            aside.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")


def read_latency_table(path: str | Path) -> LatencyTable:
    """Read a table.

    Raises:
        InputError: no such file, or not a latency table.
    """
    again = "Make it again with `edgelm latency-table MODEL --output FILE`."
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: no latency table there.",
            hint="`edgelm latency-table MODEL --output FILE` makes one, on the device.",
        ) from error
    try:
        values = read_json(text, str(path), error=InputError)
        if values.pop("edgelm_latency") != TABLE_SCHEMA:
            raise ValueError("another schema")
        check_types(LatencyTable, values, str(path), error=InputError)
        sizes = ModelSizes(**values.pop("sizes"))
        steps: dict[str, Any] = {
            name: {int(units): float(cost) for units, cost in values.pop(name).items()} for name in ("attention", "ffn")
        }
        band = values.pop("band", None)
        table = LatencyTable(sizes=sizes, **steps, **values, band=band and (float(band[0]), float(band[1])))
        costs = [table.rest, table.layer, *table.attention.values(), *table.ffn.values(), *(table.band or ())]
        if min(len(table.attention), len(table.ffn)) < 2 or not all(math.isfinite(cost) for cost in costs):
            raise ValueError("costs that are no numbers, or too few of them")
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a latency table ({str(error)[:160]}).", hint=again) from error
    return table


def count_operations(sizes: ModelSizes, sequence: int) -> LatencyTable:
    """A table of multiply-accumulates, for a budget that no machine decides.

    A head: 4·s·d·d_h for its projections and 2·s²·d_h for scores and mixing; a channel: 2·s·d, with a gate 3·s·d; as
    Kwon et al. (2022) count them.
    """
    head = (4 * sequence * sizes.hidden * sizes.head_size + 2 * sequence**2 * sizes.head_size) / 1e6
    channel = sizes.ffn_matrices * sequence * sizes.hidden / 1e6
    attention, ffn = {0: 0.0, sizes.heads: head * sizes.heads}, {0: 0.0, sizes.ffn: channel * sizes.ffn}
    return LatencyTable("counted", "10^6 operations", sizes, "any", sequence, 0.0, 0.0, attention, ffn)


def _between(steps: Mapping[int, float], units: int) -> float:
    """Linear interpolation, and the nearest slope beyond the ends."""
    known = sorted(steps)
    if units in steps:
        return steps[units]
    place = min(max(bisect_left(known, units), 1), len(known) - 1)
    left, right = known[place - 1], known[place]
    return steps[left] + (steps[right] - steps[left]) * (units - left) / (right - left)
