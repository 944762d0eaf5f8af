"""What encoders of one shape take in time on a device, by their number of layers: measured where a latency table fits,
else estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgelm.budgeting.footprint import size_table
from edgelm.cost.roofline import load_constants, price, total_ms
from edgelm.cost.synthetic import encoder_work
from edgelm.device import Device
from edgelm.errors import InputError, UsageError
from edgelm.hardware.machine import describe_machine
from edgelm.latency_table import LatencyTable, read_latency_table
from edgelm.quantize.target import target_of
from edgelm.runtime.cache import cache_folder
from edgelm.shapes import ModelSizes

NEAR = 0.2  # of the texts' length: what was measured at a length further away is for other texts

CALIBRATED = "estimated, calibrated"


@dataclass(frozen=True)
class Latency:
    """Of one call at batch 1.

    Attributes:
        ms, low, high: and the band in which a measurement is expected, where it is estimated.
        source: `measured` or `estimated`, with the length that was measured where that is another; `estimated,
            calibrated` where profiles of the device say by how much its estimates are off.
    """

    ms: float
    low: float
    high: float
    source: str


@dataclass(frozen=True)
class Calibration:
    """By how much the cost model was off on a device.

    Attributes:
        precision: of the bundles that were measured; estimates of others stay as they are.
        factor: measured over estimated, the median of the cases.
        low, high: the lowest and the highest of the cases, over the factor: how far each is from what the others say.
        cases: that were measured at batch 1.
        names: of the bundles.
    """

    precision: str
    factor: float
    low: float
    high: float
    cases: int
    names: tuple[str, ...]


class Costs:
    """Latencies and sizes on a device; those of one shape are reckoned once.

    Args:
        tables: that were measured on the device.
        sequence: tokens of a text.
        calibrations: by precision, by how much estimates are off on the device.
    """

    def __init__(
        self,
        device: Device,
        tables: Sequence[LatencyTable],
        sequence: int,
        calibrations: Mapping[str, Calibration] | None = None,
    ) -> None:
        self._device, self._tables, self._sequence = device, tables, sequence
        self._calibrations = calibrations or {}
        self._lines: dict[tuple[ModelSizes, str], tuple[float, float]] = {}
        self._sizes: dict[tuple[ModelSizes, str, float], LatencyTable] = {}
        self.lacking: UsageError | None = None  # the figure that an estimate would have taken

    def knows(self, sizes: ModelSizes, precision: str) -> bool:
        """Whether a latency can be said: by a table, or by the device's figures."""
        try:
            self.latency(sizes, precision, sizes.layers)
        except UsageError as error:
            self.lacking = error
        else:
            return True
        return False

    def latency(self, sizes: ModelSizes, precision: str, layers: int) -> Latency:
        """Of a model of so many of its layers, uncut otherwise.

        Raises:
            UsageError: the device's file lacks a figure that an estimate takes.
        """
        table = next((table for table in self._tables if _fits(table, sizes, precision)), None)
        if table is not None:
            ms = table.predict(sizes.full()[:1] * layers)
            other = "" if table.sequence == self._sequence else f" at {table.sequence} tokens"
            return Latency(ms, ms, ms, f"measured{other}")
        first, each = self._line(sizes, precision)
        ms, (low, high) = first + (layers - 1) * each, load_constants(self._device.kind).band
        known = self._calibrations.get(precision)
        if known is None:
            return Latency(ms, low * ms, high * ms, "estimated")
        # What a profile says of one shape is as far from the truth of another as an estimate is: the band says how much
        # shapes differ from each other, which no factor takes away (docs/explanation/estimates.md).
        ms, low, high = ms * known.factor, min(low, known.low), max(high, known.high)
        return Latency(ms, low * ms, high * ms, CALIBRATED)

    def size_mb(self, sizes: ModelSizes, precision: str, layers: int, tokenizer_mb: float) -> float:
        """Of the bundle, counted."""
        key = (sizes, precision, tokenizer_mb)
        if key not in self._sizes:
            self._sizes[key] = size_table(sizes, precision, self._device, tokenizer_mb=tokenizer_mb)
        return self._sizes[key].predict(sizes.full()[:1] * layers)

    def _line(self, sizes: ModelSizes, precision: str) -> tuple[float, float]:
        """What a model of one layer takes, and what each further layer adds."""
        # What is looked up in tables does not depend on how long they are.
        key = replace(sizes, layers=0, vocabulary=0, positions=0, types=min(sizes.types, 1)), precision
        if key not in self._lines:
            one, two = (self._estimate(sizes, precision, layers) for layers in (1, 2))
            self._lines[key] = one, two - one
        return self._lines[key]

    def _estimate(self, sizes: ModelSizes, precision: str, layers: int) -> float:
        constants = load_constants(self._device.kind)
        works = encoder_work(
            replace(sizes, layers=layers),
            sizes.full()[:1] * layers,
            precision,
            batch=1,
            sequence=self._sequence,
            compiled=target_of(self._device).compiled,
        )
        return total_ms(price(works, self._device, constants), constants)


def kept_tables(device: Device, sequence: int) -> list[LatencyTable]:
    """Tables that were measured on this machine for texts of about this length and kept, the nearest first; none where
    the device is another than this machine."""
    cpu = describe_machine().cpu
    if not target_of(device).here or (
        device.arch != "any" and device.title != cpu
    ):  # as `edgelm devices detect` names it
        return []
    found = []
    for file in sorted(cache_folder("latency").glob("*.json")):
        try:
            table = read_latency_table(file)
        except InputError:  # of another version, or torn
            continue
        if table.machine.get("cpu") == cpu and abs(table.sequence - sequence) <= NEAR * sequence:
            found.append(table)
    return sorted(found, key=lambda table: abs(table.sequence - sequence))


def _fits(table: LatencyTable, sizes: ModelSizes, precision: str) -> bool:
    ours, theirs = ((size.hidden, size.heads, size.ffn, size.gated) for size in (sizes, table.sizes))
    return table.precision == precision and ours == theirs
