"""Engines of a graph: how TensorRT is to build one, and what one was built with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class ShapeRange:
    """One optimization profile of an engine.

    Attributes:
        axes: for each dynamic axis of the graph's inputs, by its name (such as batch, sequence): the size that the
            engine takes at least, the one that it is made fastest for, and the one that it takes at most.
    """

    axes: dict[str, tuple[int, int, int]]

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether inputs may be given whose axes have these sizes; axes that it does not name may have any."""
        return all(least <= sizes.get(name, least) <= most for name, (least, _, most) in self.axes.items())

    def shapes(self, shape: Sequence[int | str]) -> tuple[tuple[int, ...], ...]:
        """The least, the usual and the largest shape of an input whose dynamic axes are given by name."""
        return tuple(
            tuple(self.axes[axis][which] if isinstance(axis, str) else axis for axis in shape) for which in range(3)
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ShapeRange:
        """The inverse of `asdict`."""
        return cls(**values | {"axes": {name: tuple(sizes) for name, sizes in values["axes"].items()}})


@dataclass(frozen=True)
class EnginePlan:
    """How TensorRT is to make an engine of a graph, here or on the device. Precisions are what the graph says.

    Attributes:
        profiles: sizes of the inputs' axes; the first that holds a call is taken.
        workspace_mb: memory of the GPU that an operator may use beside weights and activations, 10^6 bytes.
        compute_capability: of the device's GPU, such as 8.9; None: of whichever it is built on.
        portable: for newer versions of TensorRT too and, where TensorRT offers it, for other GPUs from Ampere on, at
            some speed.
        refit: a program can exchange the weights without building again.
        strip: the engine is kept without the weights that the graph has; they are put in when it is loaded.
    """

    profiles: tuple[ShapeRange, ...]
    workspace_mb: int = 1024
    compute_capability: str | None = None
    portable: bool = False
    refit: bool = False
    strip: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EnginePlan:
        """The inverse of `asdict`."""
        return cls(**values | {"profiles": tuple(map(ShapeRange.from_dict, values["profiles"]))})


@dataclass(frozen=True)
class EngineRecord:
    """An engine in the bundle, and what it was built with: it runs where all of that is alike.

    Attributes:
        path: of its file, inside the bundle.
        package, version: that built it, tensorrt or tensorrt-rtx; another does not load it.
        compute_capabilities: of the GPUs that it is for.
        driver: of the GPU that it was built on; None: built without one.
        precision: of the graph.
        plan: that it was built by.
        graph: hash of graph and weights, see `edgelm.runtime.manifest.graph_hash`.
        seconds: that the build took, as its result tells; 0 in a bundle, whose bytes no clock decides.
        difference: largest difference from the golden answers when a GPU replayed them; None: none has.
    """

    path: str
    package: str
    version: str
    compute_capabilities: tuple[str, ...]
    driver: str | None
    precision: str
    plan: EnginePlan
    graph: str
    seconds: float = field(compare=False)
    difference: float | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EngineRecord:
        """The inverse of `asdict`."""
        changed = {
            "plan": EnginePlan.from_dict(values["plan"]),
            "compute_capabilities": tuple(values["compute_capabilities"]),
        }
        return cls(**values | changed)


def one_profile(plan: EnginePlan) -> EnginePlan:
    """All shapes in one profile: TensorRT-RTX makes kernels for the shapes that it meets when it runs, and each profile
    takes megabytes. Where the last does not hold what the first does, as that of steps prompts, they stay."""
    first, last = plan.profiles[0].axes, plan.profiles[-1].axes
    if any(first[name][2] > most for name, (_, _, most) in last.items()):
        return plan
    axes = {name: (least, usual, last[name][2]) for name, (least, usual, _) in first.items()}
    return replace(plan, profiles=(ShapeRange(axes),))
