"""A bundle in the making: what each step of an export is given, and returns with something added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import onnx

from edgelm.anatomy import TaskModel
from edgelm.checkpoint import Checkpoint
from edgelm.data.dataset import Dataset
from edgelm.export.settings import ExportSettings
from edgelm.runtime.generation.golden import GenerationGolden
from edgelm.runtime.golden import Golden
from edgelm.runtime.graph_spec import GraphSpec


@dataclass(frozen=True)
class DraftGraph:
    """One graph of the bundle.

    Attributes:
        spec: what the manifest says of it.
        model: the graph itself, as it is shipped; its constants may lie in a file beside it (`Draft.stored`).
        session: what computes it on this machine, as a session of onnxruntime; None until it is in its precision.
        emulated: the session computes another graph that gives the same: no kernel here has the precision.
    """

    spec: GraphSpec
    model: onnx.ModelProto
    session: Any = None
    emulated: bool = False


def _nothing_to_check(path: Path) -> None:
    """The check of a draft that no step has given one."""


@dataclass(frozen=True)
class Draft:
    """A bundle in the making.

    Graphs are large: a step may change the one that it was given, where it returns it.

    Attributes:
        settings: what was asked for.
        checkpoint: the folder that is exported.
        source: the model of that folder, with the task and the longest text that the bundle has.
        rows: texts to calibrate on.
        labelled: labelled rows that choices are made by; None: those of `rows`, if they have labels.
        evaluation: rows whose metrics the manifest gives; None: it gives none.
        guessed: what the labels' names decided alone, and the option that decides otherwise; empty where nothing was
            guessed.
        reference: the model as plain transformers loads it; None: it is not loaded.
        graphs: in the order of the manifest.
        work: a folder for files of the export, as long as it lasts; None: there is none.
        stored: the folder in it that holds the graphs as the bundle will; None: they lie in memory.
        calibration: what the manifest says of it.
        quality: metrics of checkpoint and bundle, as the manifest has them.
        golden: the samples that a device replays.
        check: looks at the finished bundle before it takes its place, and raises where it is not as it should be.
    """

    settings: ExportSettings
    checkpoint: Checkpoint
    source: TaskModel
    rows: Dataset
    labelled: Dataset | None = None
    evaluation: Dataset | None = None
    guessed: str = ""
    reference: Any = None
    graphs: tuple[DraftGraph, ...] = ()
    work: Path | None = None
    stored: Path | None = None
    calibration: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    golden: Golden | GenerationGolden = field(default_factory=lambda: Golden([], [], [], tolerance=0.0))
    check: Callable[[Path], None] = _nothing_to_check


Step: TypeAlias = Callable[[Draft], Draft]
