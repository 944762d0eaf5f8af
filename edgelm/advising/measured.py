"""What profiles say of a device: models that were measured there, and by how much its estimates were off."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from edgelm.advising.costs import NEAR, Calibration, Latency
from edgelm.advising.graphs import count_layers, count_weights
from edgelm.advising.models import known_model, layer_weights
from edgelm.cost.roofline import load_constants, price, total_ms
from edgelm.cost.work import graph_work
from edgelm.device import Device
from edgelm.errors import EdgelmError, InputError, UsageError
from edgelm.graph.branches import unbranch
from edgelm.profile.plan import GOLDEN_SAMPLES
from edgelm.profile.result import Case, Profile, read_profile_file
from edgelm.quantize.target import target_of
from edgelm.runtime import open_bundle
from edgelm.runtime.golden import Golden
from edgelm.runtime.manifest import GOLDEN_FILE

PROFILE_FILE = "profile.json"  # of a project, a trial, and of most people
_AGAIN = "Make one there with `edgelm profile BUNDLE --output profile.json`."


@dataclass(frozen=True)
class MeasuredModel:
    """A model out of a profile.

    Attributes:
        name, family, precision, layers, of_layers, weights_m, size_mb: as in `Candidate`.
        latency: at the length of the user's texts.
    """

    name: str
    family: str
    precision: str
    layers: int
    of_layers: int
    weights_m: float
    size_mb: float
    latency: Latency


@dataclass(frozen=True)
class Measured:
    """What files of profiles are worth.

    Attributes:
        models: that are ranked as measured.
        calibrations: by precision.
        passed: by name why a profile was not taken.
    """

    models: tuple[MeasuredModel, ...] = ()
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    passed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Subject:
    """A profile, where its subject lies, and its cases at batch 1: tokens and ms."""

    profile: Profile
    path: Path
    cases: tuple[tuple[int, float], ...]


def profile_files(named: Sequence[Path]) -> list[Path]:
    """The file of each: itself, or `profile.json` in a folder.

    Raises:
        InputError: a folder without one.
    """
    found = []
    for path in named:
        file = path / PROFILE_FILE if path.is_dir() else path
        if path.is_dir() and not file.is_file():
            raise InputError(f"{path}: no {PROFILE_FILE} is in this folder.", hint=_AGAIN)
        found.append(file)
    return found


def profile_beside(bundle: Path) -> Path:
    """The `profile.json` that lies beside a bundle.

    Raises:
        InputError: none does.
    """
    file = bundle.parent / PROFILE_FILE
    if not file.is_file():
        raise InputError(
            f"{bundle} is a bundle, and no {PROFILE_FILE} beside it says how fast it is.",
            hint=f"Measure it on the device: `edgelm profile {bundle} --output {file}`.",
        )
    return file


def read_measured(files: Sequence[Path], device: Device, *, sequence: int) -> Measured:
    """Read profiles that were made on a device.

    Of bundles the graph is read, which the cost model estimates at the lengths that were measured. A checkpoint's time
    is PyTorch's, and says nothing of other estimates.

    Args:
        sequence: tokens of the user's texts; also of texts that were measured as they are, where those are not the
            bundle's own samples.

    Raises:
        InputError: no such file, no profiles in it, or none that can be taken.
        UsageError: profiles of another device.
    """
    models: list[MeasuredModel] = []
    ratios: dict[str, list[tuple[str, float]]] = {}
    passed: dict[str, str] = {}
    for file in dict.fromkeys(files):
        taken = False
        profiles = read_profile_file(file)
        own = _own_length(file, profiles) or sequence
        for profile in profiles:
            _check_device(file, profile, device)
            try:
                subject = _find_subject(file, profile, own)
                model, found = _read(subject, device, sequence)
            except EdgelmError as error:
                passed[profile.name] = str(error.message)
                continue
            taken = True
            models.append(model)
            ratios.setdefault(profile.precision, []).extend((profile.name, ratio) for ratio in found)
        if not taken:
            name, reason = next(iter(passed.items()))
            raise InputError(f"{file}: nothing in it can be ranked; {name}: {reason}", hint=_AGAIN)
    calibrations = {precision: _calibration(precision, found) for precision, found in ratios.items() if found}
    return Measured(tuple(models), calibrations, passed)


def _calibration(precision: str, found: Sequence[tuple[str, float]]) -> Calibration:
    ratios = [ratio for _, ratio in found]
    factor = statistics.median(ratios)
    names = tuple(dict.fromkeys(name for name, _ in found))
    return Calibration(precision, factor, min(ratios) / factor, max(ratios) / factor, len(found), names)


def _check_device(file: Path, profile: Profile, device: Device) -> None:
    """Refuse what was measured elsewhere, as far as a profile says where."""
    arch, compiled = str(profile.machine.get("arch", "any")), target_of(device).compiled
    other = None
    if profile.device not in (None, "cpu", device.name) and device.name != "cpu":
        other = f"was measured on {profile.device}"
    elif device.arch != "any" and arch not in ("any", device.arch):
        other = f"was measured on {profile.machine.get('cpu') or 'a machine'} ({arch})"
    elif profile.kind == "bundle" and compiled == (profile.provider in ("cpu", "native", "xnnpack")):
        other = f"ran on {profile.provider or 'another processor'}"
    if other is not None:
        raise UsageError(
            f"{file}: {profile.name} {other}; {device.name} is another device.",
            hint="Give a profile that was made on it, or --device with the name of the one where it was made.",
        )


def _place(file: Path, profile: Profile) -> Path | None:
    """Where a profile's subject lies now: profiles tell a place without the folders of their machine."""
    told = Path(profile.path)
    return next((path for path in (told, file.parent / told, file.parent / told.name) if path.exists()), None)


def _find_subject(file: Path, profile: Profile, own: int) -> _Subject:
    """Its place and cases; `own`: tokens of the texts that were measured as they are."""
    path = _place(file, profile)
    cases = [case for case in profile.cases if isinstance(case, Case) and case.batch == 1]
    if not cases:
        raise InputError("it was not measured with one text in a call.", hint=_AGAIN)
    if path is None or profile.kind not in ("bundle", "pytorch"):
        what = "is neither a bundle nor a checkpoint" if path is not None else "is not there"
        raise InputError(f"{profile.path} {what}.", hint="Copy it to where it was.")
    return _Subject(profile, path, tuple((case.sequence or own, case.percentile_ms(50)) for case in cases))


def _own_length(file: Path, profiles: Sequence[Profile]) -> int | None:
    """Tokens of the first bundle's own samples, where they are what was measured; None where it was other texts."""
    for profile in profiles:
        path = _place(file, profile)
        if path is not None and profile.kind == "bundle" and profile.settings.get("texts") == GOLDEN_SAMPLES:
            calls = Golden.from_json(open_bundle(path).read(GOLDEN_FILE)).inputs
            return round(statistics.median(len(next(iter(call.values()))[0]) for call in calls)) if calls else None
    return None


def _read(subject: _Subject, device: Device, sequence: int) -> tuple[MeasuredModel, list[float]]:
    """The model, and of each of its cases measured over estimated; none where nothing can be estimated."""
    if subject.profile.kind == "pytorch":
        return _checkpoint(subject, sequence), []
    bundle = open_bundle(subject.path)
    graph = onnx.ModelProto.FromString(bundle.read(bundle.manifest.graph().file))
    unbranch(graph)
    try:
        estimates = {tokens: _estimate(graph, device, tokens) for tokens in {sequence, *(n for n, _ in subject.cases)}}
    except UsageError:  # the device's file lacks figures: what was measured stands by itself
        estimates = {}
    lineage: dict[str, Any] = bundle.manifest.lineage
    layers = count_layers(graph)
    model = MeasuredModel(
        str(subject.path),
        bundle.manifest.family,
        bundle.manifest.precision,
        layers,
        max(len(lineage.get("original_layers") or ()), layers),
        count_weights(graph) / 1e6,
        bundle.size_bytes / 1e6,
        _latency(subject, sequence, estimates, device),
    )
    return model, [ms / estimates[tokens] for tokens, ms in subject.cases if tokens in estimates]


def _checkpoint(subject: _Subject, sequence: int) -> MeasuredModel:
    known = known_model(subject.path)
    layers, precision = known.sizes.layers, f"{subject.profile.precision} in PyTorch"
    weights_m, size_mb = layers * layer_weights(known.sizes) / 1e6, subject.profile.size_mb
    latency = _latency(subject, sequence, {}, None)
    return MeasuredModel(str(subject.path), known.family, precision, layers, layers, weights_m, size_mb, latency)


def _latency(subject: _Subject, sequence: int, estimates: Mapping[int, float], device: Device | None) -> Latency:
    """At the length of the user's texts: measured, or carried there from the nearest length by the cost model, where it
    estimates anything."""
    tokens, ms = min(subject.cases, key=lambda case: abs(case[0] - sequence))
    if device is None or not estimates or abs(tokens - sequence) <= NEAR * sequence:
        return Latency(ms, ms, ms, "measured" if tokens == sequence else f"measured at {tokens} tokens")
    ms, (low, high) = ms * estimates[sequence] / estimates[tokens], load_constants(device.kind).band
    return Latency(ms, low * ms, high * ms, f"estimated from {tokens} tokens")


def _estimate(graph: onnx.ModelProto, device: Device, tokens: int) -> float:
    """Of one text, in ms."""
    constants = load_constants(device.kind)
    works = graph_work(graph, batch=1, sequence=tokens, fused=target_of(device).compiled)
    return total_ms(price(works, device, constants), constants)
