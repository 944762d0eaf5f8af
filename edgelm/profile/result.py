"""The noun Profile: what was measured, on which machine, with every raw sample."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgelm.errors import InputError
from edgelm.limits import read_json
from edgelm.notebook import html_view
from edgelm.profile.generation.case import GenerationCase
from edgelm.profile.interleave import BLOCK_CALLS
from edgelm.profile.interval import Ratio
from edgelm.profile.memory import Memory
from edgelm.profile.power import Power
from edgelm.profile.samples import Samples, rounds_of

# 4: models that write; 3: intervals, ratios and warnings; 2: the memory of the machine, and what was passed over for
# what ran it
PROFILE_SCHEMA = 4


@dataclass(frozen=True)
class Case(Samples):
    """One batch size and sequence length of a model that answers.

    Attributes:
        batch: texts in one call.
        sequence: tokens of each text; None for real texts of their own lengths.
        samples_ms, block, inputs, ratio: as in `Samples`; a call is input arrays in, output array out.
    """

    batch: int
    sequence: int | None
    samples_ms: tuple[float, ...]
    block: int = BLOCK_CALLS
    inputs: int = 1
    ratio: Ratio | None = None

    @property
    def label(self) -> str:
        """The case in words."""
        return f"batch {self.batch}" + ("" if self.sequence is None else f", {self.sequence} tokens")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with statistics, and throughput (texts per second, from the mean)."""
        what = {"batch": self.batch, "sequence": self.sequence}
        samples = {"throughput_per_s": 1000 * self.batch / self.mean_ms, "samples_ms": list(self.samples_ms)}
        return what | self.statistics() | samples

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Case:
        """The inverse of `to_dict`."""
        return cls(values["batch"], values["sequence"], tuple(values["samples_ms"]), **rounds_of(values))


AnyCase = Case | GenerationCase


def case_from_dict(values: dict[str, Any]) -> AnyCase:
    """A case of either kind."""
    return GenerationCase.from_dict(values) if "measure" in values else Case.from_dict(values)


@dataclass(frozen=True)
class Profile:
    """What one subject costs on one machine.

    Attributes:
        name, path, kind, precision, size_mb: what was measured; kind is bundle, onnx, pytorch, gguf or genai; size
            in 10^6 bytes.
        cases: per batch size and sequence length; of a model that writes per prompt and context.
        load_ms: from the first import of the runtime to a loaded model, in a fresh process; median of several.
        peak_memory_mb: of a fresh process that loads and answers (10^6 bytes); median of several.
        tokenization_ms: median for one text; None where the subject has no tokenizer of the runtime.
        operators: per operator type nodes, ms_per_call and share, slowest first; empty for PyTorch.
        machine: as `edgelm.hardware.machine` describes it.
        settings: warmup, runs, threads, texts, loads; of a model that writes also `prompt_runs`.
        created: ISO 8601, UTC.
        device: the device name that the user gave; a label: the figures are of `machine`.
        manifest: of a bundle; empty otherwise.
        runs_on: in words, what ran it, such as `cpu, by onnxruntime`, and what would have come before it.
        provider: that ran it; see `edgelm.runtime.provider`.
        engine: of the bundle, that ran it; None: onnxruntime or PyTorch did.
        passed: name and reason of each provider that its device prefers and that was not there; empty if the first was.
        source: "measured".
        host: where it ran, as the user named it; None: the machine that profiled.
        power: of the first case, of a model that writes of its first context; None where no sensor could be read.
        memory: of the machine, in the first case: the system's, and that of each NVIDIA GPU on a card; those that could
            be read.
        warnings: sentences that say what makes the figures doubtful: other work on the machine (`machine["busy"]` has
            the figures; see `edgelm.hardware.busy.Busy`), or calls that took now this and now that.
    """

    name: str
    path: str
    kind: str
    precision: str
    size_mb: float
    cases: tuple[AnyCase, ...]
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
    warnings: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """What a notebook shows: how fast the subject is in each case, and what makes that doubtful."""
        from edgelm.report.generation import speed_sections

        facts = {
            "precision": self.precision,
            "size": f"{self.size_mb:.1f} MB",
            "ran on": self.runs_on,
            "of": str(self.machine.get("cpu", "")),
            "doubtful:": " ".join(self.warnings),
        }
        return html_view(f"Profile of {self.name}", facts, *(table for _, table in speed_sections([self.to_dict()])))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        power = None if self.power is None else self.power.to_dict()
        lists: dict[str, list[Any]] = {name: list(values[name]) for name in ("operators", "passed", "warnings")}
        lists |= {name: [entry.to_dict() for entry in values[name]] for name in ("cases", "memory")}
        return values | lists | {"power": power}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Profile:
        """The inverse of `to_dict`.

        Raises:
            InputError: not a profile, or one of a newer schema.
        """
        schema = values.get("schema")
        if not isinstance(schema, int) or schema > PROFILE_SCHEMA:
            raise InputError(
                f"profile of schema {schema!r}; this edgelm reads up to {PROFILE_SCHEMA}.",
                hint="Install a newer edgelm.",
            )
        try:
            cases = tuple(map(case_from_dict, values["cases"]))
            power = Power(**values["power"]) if values.get("power") else None
            lists = {"cases": cases, "operators": tuple(values["operators"]), "passed": tuple(values.get("passed", ()))}
            lists["warnings"] = tuple(values.get("warnings", ()))
            lists["memory"] = tuple(Memory(**entry) for entry in values.get("memory", ()))
            return cls(**(values | lists | {"power": power}))
        except (KeyError, TypeError) as error:
            raise InputError(
                f"not a profile ({error}).", hint="Make it again with `edgelm profile BUNDLE --output F.json`."
            ) from error


MAKE_PROFILES = "Make one with `edgelm profile BUNDLE --compare ORIGINAL --output FILE.json`."


def read_profile_values(path: Path) -> dict[str, Any]:
    """JSON-ready, what a file of profiles holds: `profiles`, and what was written beside them.

    A file of one profile, as each trial of a search has it, is read as one with a list of it.

    Raises:
        InputError: no such file, or no profiles in it.
    """
    try:
        values = read_json(path.read_bytes(), str(path), error=InputError)
    except OSError as error:
        raise InputError(f"{path}: no file that can be read ({error.strerror}).", hint=MAKE_PROFILES) from error
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error}).", hint=MAKE_PROFILES) from error
    if isinstance(values, dict) and "cases" in values:
        values = {"profiles": [values]}
    if not isinstance(values, dict) or not isinstance(values.get("profiles"), list) or not values["profiles"]:
        raise InputError(f"{path}: no profiles are in it.", hint=MAKE_PROFILES)
    for entry in values["profiles"]:
        if not isinstance(entry, dict):
            raise InputError(f"{path}: {json.dumps(entry)[:40]} is no profile.", hint=MAKE_PROFILES)
    return values


def read_profile_file(path: Path) -> list[Profile]:
    """The profiles of a file of `edgelm profile --output`.

    Raises:
        InputError: as `read_profile_values`, or a profile that cannot be read.
    """
    return [Profile.from_dict(entry) for entry in read_profile_values(path)["profiles"]]
