"""What calibration learns of each activation, from real texts, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from edgelm.errors import CalibrationError
from edgelm.graph.session import make_watching_session
from edgelm.progress import Progress, silent
from edgelm.quantize.histogram import Histogram

MIN_SAMPLES = 8
MIN_TOKENS = 64
_ROWS = 512
_GRAM_ROWS = 1024
_MEMORY = 0.9  # of the moving average, text by text

Feeds = dict[str, np.ndarray]


@dataclass
class Statistics:
    """Of one activation, (..., channels).

    Attributes:
        histogram: of all values.
        average: smallest and largest value of a text, averaged over texts with a memory of 0.9.
        channel_low, channel_high: (channels,) smallest and largest value of each channel.
        tokens: how many there were.
        rows: (at most 512, channels) tokens drawn evenly from all texts.
        gram: (channels, channels) sum of x xᵀ over all tokens; empty unless asked for.
    """

    histogram: Histogram = field(default_factory=Histogram)
    average: tuple[float, float] = (0.0, 0.0)
    channel_low: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    channel_high: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    tokens: int = 0
    rows: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    gram: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    _waiting: list[np.ndarray] = field(default_factory=list)

    def add(self, values: np.ndarray) -> None:
        """Take in the activation of one text.

        Raises:
            ValueError: a value is not finite.
        """
        first = self.histogram.limit == 0.0
        self.histogram.add(values)
        ends = (float(values.min()), float(values.max()))
        old = ends if first else self.average
        self.average = (_MEMORY * old[0] + (1 - _MEMORY) * ends[0], _MEMORY * old[1] + (1 - _MEMORY) * ends[1])
        tokens = values.reshape(-1, values.shape[-1])
        lows, highs = tokens.min(axis=0), tokens.max(axis=0)
        self.channel_low = lows if first else np.minimum(self.channel_low, lows)
        self.channel_high = highs if first else np.maximum(self.channel_high, highs)

    @property
    def channel_max(self) -> np.ndarray:
        """(channels,) largest magnitude of each channel."""
        return np.maximum(np.abs(self.channel_low), np.abs(self.channel_high))

    def scaled(self, scale: np.ndarray) -> Statistics:
        """Of the activation divided by a scale (channels,); its histogram has ends but no counts."""
        low, high = self.channel_low / scale, self.channel_high / scale
        histogram = Histogram(low=float(low.min()), high=float(high.max()))
        rows = self.rows / scale if self.rows.size else self.rows
        gram = self.gram / np.outer(scale, scale) if self.gram.size else self.gram
        return Statistics(histogram, (histogram.low, histogram.high), low, high, self.tokens, rows, gram)

    def keep_rows(self, values: np.ndarray, draw: np.random.Generator) -> None:
        """Keep some tokens of a text, so that each of all tokens is kept with the same probability (reservoir
        sampling)."""
        new = values.reshape(-1, values.shape[-1])
        room = max(0, _ROWS - self.tokens)
        self.rows = new[:room].copy() if self.tokens == 0 else np.concatenate([self.rows, new[:room]])
        for index in range(room, len(new)):
            place = int(draw.integers(self.tokens + index + 1))
            if place < _ROWS:
                self.rows[place] = new[index]
        self.tokens += len(new)

    def add_gram(self, values: np.ndarray) -> None:
        """Add the outer products of a text's tokens; they are summed when enough have come together."""
        self._waiting.append(values.reshape(-1, values.shape[-1]))
        if sum(map(len, self._waiting)) >= _GRAM_ROWS:
            self.finish_gram()

    def finish_gram(self) -> None:
        """Sum what still waits."""
        if self._waiting:
            new = np.concatenate(self._waiting)
            self._waiting.clear()
            self.gram = new.T @ new if self.gram.size == 0 else self.gram + new.T @ new


def collect(
    graph: onnx.ModelProto,
    tensors: Sequence[str],
    feeds: Iterable[Feeds],
    *,
    count: int,
    gram: bool = False,
    progress: Progress = silent,
) -> dict[str, Statistics]:
    """Run the float graph on calibration inputs, (1, tokens) each, and keep the statistics of these activations.

    Args:
        feeds: taken one by one, so that memory does not grow with them.
        count: how many there are, for the progress.
        gram: also sum x xᵀ, which GPTQ and adaptive rounding need.

    Raises:
        CalibrationError: too few texts, tokens or different texts; values that are not finite.
    """
    session = make_watching_session(graph, tensors)
    statistics = {name: Statistics() for name in tensors}
    seen: set[bytes] = set()
    texts = tokens = 0
    draws = {name: np.random.default_rng(0) for name in tensors}
    for feed in feeds:
        texts += 1
        seen.add(feed["input_ids"].tobytes())
        found = session.run(list(tensors), feed) if tensors else []  # none: a model too small for integers
        for name, values in zip(tensors, found, strict=True):
            try:
                statistics[name].add(values)
            except ValueError:
                raise CalibrationError(
                    f"calibration text {texts}: the model gives values that are not finite (NaN or infinity), first "
                    f"at {name}.",
                    hint="The checkpoint itself overflows there. Look at the text and the weights; no precision can "
                    "mend it.",
                ) from None
            statistics[name].keep_rows(values, draws[name])
            if gram:
                statistics[name].add_gram(values)
        tokens += feed["input_ids"].size
        progress("calibrate", texts, count)
    for entry in statistics.values():
        entry.finish_gram()
    _check(texts, tokens, len(seen))
    return statistics


def _check(texts: int, tokens: int, different: int) -> None:
    if texts < MIN_SAMPLES:
        raise CalibrationError(
            f"{texts} calibration texts; at least {MIN_SAMPLES} are needed.",
            hint="Give more rows with --calibration, or raise --calibration-samples.",
        )
    if different < MIN_SAMPLES:
        raise CalibrationError(
            f"{texts} calibration texts, but only {different} different ones; at least {MIN_SAMPLES} are needed.",
            hint="Give texts as various as those that the model will see.",
        )
    if tokens < MIN_TOKENS:
        raise CalibrationError(
            f"the calibration texts have {tokens} tokens together; at least {MIN_TOKENS} are needed.",
            hint="Give more or longer texts: ranges learnt from so little would clip what the model will see.",
        )
