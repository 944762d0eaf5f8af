"""What a manifest says of one graph of a bundle: its file, its tensors and the role of each, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from edgelm.errors import BundleError
from edgelm.runtime.engine_plan import EnginePlan, EngineRecord

MODEL = "model"  # the graph of a bundle that has one alone
GRAPH_FILE = "model.onnx"  # of that graph
OPTIMIZED_FILE = "optimized.onnx"  # the same graph, as onnxruntime optimized it for the machine that tuned the bundle

Role = Literal[
    "tokens",
    "mask",
    "types",
    "positions",
    "rows",
    "memory-mask",
    "past-key",
    "past-value",
    "cross-key",
    "cross-value",
    "present-key",
    "present-value",
    "logits",
    "start",
    "end",
    "embedding",
]
# By the names that transformers gives inputs and outputs.
ROLES: dict[str, Role] = {
    "input_ids": "tokens",
    "attention_mask": "mask",
    "token_type_ids": "types",
    "logits": "logits",
    "start_logits": "start",
    "end_logits": "end",
    "embedding": "embedding",
}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: in the graph.
        dtype: by numpy's name, such as int64.
        shape: sizes; a dynamic axis is given by its name.
        role: what it is of: tokens, mask (1 where a token is, 0 where padding), types (of tokens) and positions that a
            graph reads, rows (of which tokens the logits are wanted) and memory-mask (1 where an encoder's source has a
            token); logits, start and end (logits of where an answer begins and ends) or embedding that it gives;
            keys and values of attention: past (of the tokens before), present (those and the new ones) and cross (of
            the encoder).
        layer: whose keys or values they are, from 0; None for all else.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    role: Role
    layer: int | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TensorSpec:
        """The inverse of `asdict`."""
        return cls(**values | {"shape": tuple(values["shape"])})


@dataclass(frozen=True)
class Parity:
    """How far the graph's outputs are from PyTorch's, on real samples.

    Attributes:
        samples: how many texts were compared.
        max_error: largest absolute difference of any output value.
        mean_error: mean absolute difference.
        changed: share of samples with another answer (class, or nearest neighbour for embeddings).
        tolerance: the largest `max_error` (float graphs) or `changed` (integer graphs) that export accepts.
        hard_texts: how many texts of unusual kinds (empty, other scripts, very long) the bundle answered as well; 0
            before schema 3.
    """

    samples: int
    max_error: float
    mean_error: float
    changed: float
    tolerance: float
    hard_texts: int = 0


@dataclass(frozen=True)
class GraphSpec:
    """One graph of a bundle.

    Attributes:
        name: by which the runtime asks for it; `model` in a bundle of one graph.
        file: inside the bundle, beside the weights.
        inputs, outputs: in the graph's order.
        opset: of the standard operators.
        session: session settings, chosen at export and by `edgelm tune`; see `edgelm.runtime.session`. Empty: the
            defaults.
        parity: against PyTorch.
        pair_sum: what two neighbouring INT8 weights of the graph sum to at most; see `edgelm.runtime.saturation`. None:
            not known.
        plan: how engines of the graph are built; None where the device has no TensorRT.
        engines: that were built, by that plan.
    """

    name: str
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    session: dict[str, Any] = field(default_factory=dict)
    parity: Parity | None = None
    pair_sum: int | None = None
    plan: EnginePlan | None = None
    engines: tuple[EngineRecord, ...] = ()

    def names(self, role: Role) -> tuple[str, ...]:
        """Of all inputs and outputs of a role, in the graph's order: of keys and values one a layer."""
        return tuple(spec.name for spec in (*self.inputs, *self.outputs) if spec.role == role)

    def find(self, role: Role) -> TensorSpec:
        """The one input or output of a role.

        Raises:
            BundleError: there is none, or more than one.
        """
        found = [spec for spec in (*self.inputs, *self.outputs) if spec.role == role]
        if len(found) != 1:
            raise BundleError(
                f"manifest.json: the graph {self.name} has {len(found) or 'no'} input{'s' * (len(found) > 1)} or "
                f"output{'s' * (len(found) > 1)} for {role}, and one is needed.",
                hint="Export the bundle again.",
            )
        return found[0]

    def cache(self) -> tuple[tuple[TensorSpec, TensorSpec], ...]:
        """The keys and values that a step reads, each with those that it gives for the next: (past, present), in the
        order of the inputs. A manifest that was read has a present for every past."""
        given = {(spec.role, spec.layer): spec for spec in self.outputs}
        following: dict[Role, Role] = {"past-key": "present-key", "past-value": "present-value"}
        return tuple((spec, given[following[spec.role], spec.layer]) for spec in self.inputs if spec.role in following)

    @property
    def grows(self) -> bool:
        """Whether keys and values are given as tensors of their own, the past ones with the new ones behind: their
        positions are those of the mask then, by the name of the axis. Else past and present may be one buffer."""
        masks = [spec.shape[1:2] for spec in self.inputs if spec.role == "mask"]
        return any(present.shape[2:3] == axis for _, present in self.cache() for axis in masks)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GraphSpec:
        """The inverse of `asdict`."""
        changed = {
            "inputs": tuple(map(TensorSpec.from_dict, values["inputs"])),
            "outputs": tuple(map(TensorSpec.from_dict, values["outputs"])),
            "parity": Parity(**values["parity"]) if values.get("parity") else None,
            "plan": EnginePlan.from_dict(values["plan"]) if values.get("plan") else None,
            "engines": tuple(map(EngineRecord.from_dict, values.get("engines", ()))),
        }
        return cls(**values | changed)
