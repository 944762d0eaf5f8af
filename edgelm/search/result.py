"""What a search found: its trials, and which of them nothing else beats."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgelm.notebook import html_view
from edgelm.search.prices import Prices

SCHEMA = 1
_CLOSE = 0.01 + 1e-9  # of the quality, a share or a correlation


@dataclass(frozen=True)
class Trial:
    """One recipe with settings, tried.

    Attributes:
        state: finished (it has all values), failed (`error` says why) or unfinished (the same search goes on with it).
        recipe, overrides: what was run, as `--recipe` and `--set` take it.
        quality: the bundle's metric on the evaluation rows; higher is better.
        latency_ms: p50 of one text at a time, in a process of its own.
        size_mb: of the bundle, 10^6 bytes.
        metrics: all metrics of the bundle.
        parameters: number of weights.
        seconds: from start to end.
    """

    number: int
    recipe: str
    overrides: tuple[str, ...]
    state: Literal["unfinished", "finished", "failed"] = "unfinished"
    quality: float | None = None
    latency_ms: float | None = None
    size_mb: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    parameters: int | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def values(self) -> tuple[float, float, float] | None:
        """Quality, latency, size; None unless finished."""
        if self.quality is None or self.latency_ms is None or self.size_mb is None:
            return None
        return self.quality, self.latency_ms, self.size_mb

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"overrides": list(self.overrides)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trial:
        """The inverse of `to_dict`."""
        return cls(**(values | {"overrides": tuple(values["overrides"])}))


@dataclass(frozen=True)
class Original:
    """The model that a search began with, judged on the trials' rows and run in PyTorch on their machine.

    Attributes:
        quality: its metric on the evaluation rows, as of a trial's bundle; None: it has none there.
        latency_ms: p50 of what is measured of a trial, eager and FP32; None: it could not be measured.
        size_mb: of its folder, 10^6 bytes.
        parameters: number of weights.
        error: why there is no latency.
    """

    quality: float | None
    latency_ms: float | None
    size_mb: float
    parameters: int
    error: str = ""


@dataclass(frozen=True)
class SearchResult:
    """What `search` found.

    Attributes:
        path: folder of the search.
        question: what was asked, as in search.json.
        metric: the name of the quality.
        trials: all of them, those of earlier calls too.
        front: numbers of the trials that no other beats in quality, latency and size, the best quality first.
        stopped: why no further trial was begun: time, trials, exhausted (the space holds nothing new) or failing.
        seconds: of this call.
        original: what the trials are compared with; None: no trial was measured since edgelm looks at it.
        prices: of the machine, so that each latency is shown as a cost too; None: they were not told.
    """

    path: str
    question: dict[str, Any]
    metric: str
    trials: tuple[Trial, ...]
    front: tuple[int, ...]
    stopped: Literal["time", "trials", "exhausted", "failing"]
    seconds: float
    original: Original | None = None
    prices: Prices | None = None

    @property
    def choice(self) -> int | None:
        """The trial to look at first: the fastest of the front that loses no more than a hundredth to the best; None
        without a front."""
        known = {trial.number: values for trial in self.trials if (values := trial.values) is not None}
        best = max((known[number][0] for number in self.front), default=0.0)
        return min(
            (number for number in self.front if known[number][0] >= best - _CLOSE),
            key=lambda number: known[number][1],
            default=None,
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the front."""
        from edgelm.report.front import front_table

        ended = sum(trial.state == "finished" for trial in self.trials)
        return html_view(f"Search {self.path}", {"finished trials": str(ended)}, front_table(self.to_dict()))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm search --json` prints and front.json holds."""
        trials = [trial.to_dict() | self._cost(trial.latency_ms) for trial in self.trials]
        said = {"schema": SCHEMA} | asdict(self) | {"trials": trials, "front": list(self.front), "choice": self.choice}
        if self.original is not None:
            said["original"] |= self._cost(self.original.latency_ms)
        return said | {"prices": None if self.prices is None else self.prices.to_dict()}

    def _cost(self, latency_ms: float | None) -> dict[str, Any]:
        """What is added to a model; nothing where no price was told."""
        if self.prices is None:
            return {}
        return {"cost": None if latency_ms is None else self.prices.of(latency_ms)}


def pareto_front(points: Sequence[tuple[float, float, float]]) -> list[int]:
    """Indices of the points that no other point dominates, in their order.

    A point (quality, latency, size) dominates another if it is at least as good in all three and better in one; of
    equal points, all stay.
    """
    return [
        index
        for index, (quality, latency, size) in enumerate(points)
        if not any(
            q >= quality and t <= latency and s <= size and (q, t, s) != (quality, latency, size) for q, t, s in points
        )
    ]


def front_of(trials: Sequence[Trial]) -> tuple[int, ...]:
    """Numbers of the trials on the Pareto front, the best quality first, then the fastest."""
    known = [(trial.number, values) for trial in trials if (values := trial.values) is not None]
    chosen = [known[index] for index in pareto_front([values for _, values in known])]
    return tuple(
        number for number, _ in sorted(chosen, key=lambda item: (-item[1][0], item[1][1], item[1][2], item[0]))
    )


def front_csv(result: SearchResult) -> str:
    """The front as a table, one row a trial."""
    trials = {trial.number: trial for trial in result.trials}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    prices = result.prices or Prices()
    costs = [*prices.of(0.0)]
    writer.writerow(["trial", "recipe", "settings", result.metric, "latency_ms", "size_mb", "parameters", *costs])
    for number in result.front:
        trial = trials[number]
        writer.writerow(
            [
                number,
                trial.recipe,
                " ".join(trial.overrides),
                trial.quality,
                trial.latency_ms,
                trial.size_mb,
                trial.parameters,
                *prices.of(trial.latency_ms or 0.0).values(),
            ]
        )
    return stream.getvalue()
