"""The noun Profile: what was measured, on which machine, with every raw sample."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from edgelm.errors import InputError
from edgelm.profile.memory import Memory
from edgelm.profile.power import Power

PROFILE_SCHEMA = 2  # 2: the memory of the machine, and what was passed over for what ran it


@dataclass(frozen=True)
class Case:
    """One batch size and sequence length; every statistic is computed from the raw samples.

    Attributes:
        batch: texts in one call.
        sequence: tokens of each text; None for real texts of their own lengths.
        samples_ms: one value a call, in the order of the calls: input arrays in, output array out.
    """

    batch: int
    sequence: int | None
    samples_ms: tuple[float, ...]

    def percentile_ms(self, share: float) -> float:
        """Percentile of the samples, linear between two of them."""
        return float(np.percentile(self.samples_ms, share, method="linear"))

    @property
    def mean_ms(self) -> float:
        """Arithmetic mean."""
        return float(np.mean(self.samples_ms))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with mean, percentiles (ms) and throughput (texts per second, from the mean)."""
        percentiles = {f"p{share}_ms": self.percentile_ms(share) for share in (50, 90, 95, 99)}
        samples = {"throughput_per_s": 1000 * self.batch / self.mean_ms, "samples_ms": list(self.samples_ms)}
        return {"batch": self.batch, "sequence": self.sequence, "mean_ms": self.mean_ms, **percentiles, **samples}


@dataclass(frozen=True)
class Profile:
    """What one subject costs on one machine.

    Attributes:
        name, path, kind, precision, size_mb: what was measured; kind is bundle, onnx or pytorch; size in 10^6 bytes.
        cases: per batch size and sequence length.
        load_ms: from the first import of the runtime to a loaded model, in a fresh process; median of several.
        peak_memory_mb: of a fresh process that loads and answers (10^6 bytes); median of several.
        tokenization_ms: median for one text; None where the subject has no tokenizer of the runtime.
        operators: per operator type nodes, ms_per_call and share, slowest first; empty for PyTorch.
        machine: as `edgelm.machine` describes it.
        settings: warmup, runs, threads, texts, loads.
        created: ISO 8601, UTC.
        device: the device name that the user gave; a label: the figures are of `machine`.
        manifest: of a bundle; empty otherwise.
        runs_on: in words, what ran it, such as `cpu, by onnxruntime`, and what would have come before it.
        provider: that ran it; see `edgelm.runtime.provider`.
        engine: of the bundle, that ran it; None: onnxruntime or PyTorch did.
        passed: name and reason of each provider that its device prefers and that was not there; empty if the first was.
        source: "measured".
        host: where it ran, as the user named it; None: the machine that profiled.
        power: of the first case; None where no sensor could be read.
        memory: of the machine, in the first case: the system's, and that of each NVIDIA GPU on a card; those that could be read.
    """

    name: str
    path: str
    kind: str
    precision: str
    size_mb: float
    cases: tuple[Case, ...]
    load_ms: float
    peak_memory_mb: float
    tokenization_ms: float | None
    operators: tuple[dict[str, Any], ...]
    machine: dict[str, Any]
    settings: dict[str, Any]
    created: str
    device: str | None
    manifest: dict[str, Any]
    runs_on: str = ""
    source: str = "measured"
    schema: int = PROFILE_SCHEMA
    host: str | None = None
    power: Power | None = None
    provider: str = ""
    engine: str | None = None
    passed: tuple[dict[str, str], ...] = ()
    memory: tuple[Memory, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        power = None if self.power is None else self.power.to_dict()
        lists = {"cases": [case.to_dict() for case in self.cases], "operators": list(self.operators), "passed": list(self.passed)}
        lists["memory"] = [entry.to_dict() for entry in self.memory]
        return values | lists | {"power": power}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Profile:
        """The inverse of `to_dict`.

        Raises:
            InputError: not a profile, or one of a newer schema.
        """
        schema = values.get("schema")
        if not isinstance(schema, int) or schema > PROFILE_SCHEMA:
            raise InputError(f"profile of schema {schema!r}; this edgelm reads up to {PROFILE_SCHEMA}.", hint="Install a newer edgelm.")
        try:
            cases = tuple(Case(case["batch"], case["sequence"], tuple(case["samples_ms"])) for case in values["cases"])
            power = Power(**values["power"]) if values.get("power") else None
            lists = {"cases": cases, "operators": tuple(values["operators"]), "passed": tuple(values.get("passed", ()))}
            lists["memory"] = tuple(Memory(**entry) for entry in values.get("memory", ()))
            return cls(**(values | lists | {"power": power}))
        except (KeyError, TypeError) as error:
            raise InputError(f"not a profile ({error}).", hint="Make it again with `edgelm profile BUNDLE --output F.json`.") from error
