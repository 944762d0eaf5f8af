"""Settings that would bring a missed bound of a budget closer, without those already in use."""

from __future__ import annotations

from edgelm.budgeting.footprint import PROCESS_MB
from edgelm.checkpoint import Record
from edgelm.device import Device
from edgelm.precision import precision_of
from edgelm.quantize.target import target_of

_NARROWER = "begin with a narrower student (a stage distill with shape.hidden before fit)"


def advise(name: str, asked: float, record: Record, precision: str, device: Device, *, layers: int) -> str:
    """One or more ways to come nearer to a bound, for people.

    Args:
        name: of the bound: latency, size, memory or drop.
        asked: what is allowed, in the bound's unit.
        record: of the compressed model.
        precision: that it is meant in, on `device`.
        layers: that the compressed model has.
    """
    ways = {"latency": _faster, "size": _smaller, "memory": _smaller}
    found = _better(record) if name == "drop" else ways[name](record, precision, device)
    if name == "memory" and asked < PROCESS_MB:
        found = [
            f"run the bundle's C++ example: Python with onnxruntime takes some {PROCESS_MB:.0f} MB before any model"
        ]
    if name == "latency" and layers > 1:  # more could be cut: what was found was measured, and is a little too slow
        found = ["ask for a little less than you need, since measurements swing", *found]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])}, or {found[-1]}"


def advise_writer(name: str, record: Record) -> str:
    """Ways of a model that writes to come nearer to a bound: latency, weights, first-token, size, memory or drop."""
    trained = any("train" in stage.settings for stage in record.stages if stage.stage != "finetune")
    if name == "drop":
        return "allow more time or size" + ("" if trained else ", or take a recipe that trains (generator-balanced)")
    tokens = "drop more tokens (a lower vocabulary.min_tokens)"
    if record.tokens is None:
        tokens = "drop unused tokens first (a stage vocabulary before fit, as in recipe generator-smallest)"
    further = {
        "latency": "ask at a shorter context (--context)",
        "weights": "ask for less",
        "first-token": "ask for a shorter prompt (--prompt-length)",
        "size": "keep weights in 4 bits (--precision int4)",
        "memory": "ask at a shorter context (--context)",
    }
    return f"{tokens}, {further[name]}, or lower fit.multiple"


def _faster(record: Record, precision: str, device: Device) -> list[str]:
    there = precision_of(precision).bits == 8 or "int8" not in device.precisions
    integers = [] if there else ["compute in integers (--precision int8)"]
    return [*integers, "cut texts to fewer tokens (--max-length)", _NARROWER]


def _smaller(record: Record, precision: str, device: Device) -> list[str]:
    if record.tokens is None:
        found = ["drop unused tokens (a stage vocabulary before fit, as in recipe compact)"]
    else:
        found = ["drop more tokens (a lower vocabulary.frequent, or vocabulary.max_tokens)"]
    row = precision_of(precision)
    if not row.integers:
        return [*found, "keep weights as integers (--precision int8)", _NARROWER]
    if record.embedding_bits > 4 and target_of(device).integer_embeddings:
        found.append("keep embeddings in 4 bits (a stage embeddings, as in recipe compact)")
    return [
        *found,
        *(["keep weights in 4 bits (--precision int4)"] if row.bits > 4 and "int4" in device.precisions else []),
        _NARROWER,
    ]


def _better(record: Record) -> list[str]:
    trained = [stage for stage in record.stages if stage.stage != "finetune" and "train" in stage.settings]
    if not trained:
        return ["take a recipe that trains (--recipe budget)", "allow more time or size"]
    counted = "max_steps" if trained[-1].settings["train"]["max_steps"] else "epochs"
    found = [
        "allow more time or size",
        f"train longer ({trained[-1].stage}.train.{counted}, and --time-limit if you gave one)",
    ]
    return [*found, *([] if "unlabelled" in record.data else ["give more texts (--unlabelled)"])]
