"""What is to be measured: read and checked in full before anything is started or sent anywhere, and the same for every
place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgelm.data.dataset import Dataset
from edgelm.errors import InputError, UsageError
from edgelm.files.places import told_place
from edgelm.profile.inputs import Feeds, find_texts, make_feeds
from edgelm.profile.onnx_signature import read_inputs
from edgelm.profile.subject import Subject, find_subject
from edgelm.runtime import open_bundle
from edgelm.runtime.provider import check_provider


@dataclass(frozen=True)
class ProfilePlan:
    """A profile that can be made.

    Attributes:
        subjects: what is measured; the first is a bundle.
        texts: that the calls are made of; `source` says where they are from.
        grid: batch size and tokens of each case; None: texts of their own lengths.
        feeds: per subject and case the inputs of calls.
        threads: of every subject; None: one a core of the place.
        warmup, runs, loads: as `edgelm.profile.pipeline.profile` takes them.
        device: a name to note.
    """

    subjects: tuple[Subject, ...]
    texts: tuple[Any, ...]
    source: str
    grid: tuple[tuple[int, int | None], ...]
    feeds: list[list[list[Feeds]]]
    threads: int | None
    warmup: int
    runs: int
    loads: int
    device: str | None


def plan_profile(
    subject: str | Path | Subject,
    *,
    compare: Sequence[str | Path | Subject] = (),
    batch_sizes: Sequence[int] = (1,),
    sequence_lengths: Sequence[int] = (),
    data: Dataset | None = None,
    threads: int | None = None,
    warmup: int = 20,
    runs: int = 300,
    loads: int = 3,
    device: str | None = None,
    provider: str | None = None,
) -> ProfilePlan:
    """Check all that can be known before a place is: arguments and errors are those of
    `edgelm.profile.pipeline.profile`."""
    check_provider(provider)
    _check_counts(batch_sizes, {"threads": threads or 1, "runs": runs, "loads": loads}, warmup)
    subjects = tuple(_find(entry, provider) for entry in (subject, *compare))
    first = subjects[0]
    if first.kind != "bundle":
        raise UsageError(
            f"{first.path} is no bundle; its texts and tokenizer are needed.",
            hint="Give a bundle first, and the others with --compare.",
        )
    for entry in subjects:
        if entry.kind == "bundle":
            open_bundle(entry.path).check_sizes()
        _check_lengths(entry, sequence_lengths)
    if data is not None and not len(data):
        raise UsageError(f"{data.source}: no texts.", hint="Give a file with texts with --data.")
    texts = find_texts(first, data)
    grid = tuple((batch, sequence) for sequence in (sequence_lengths or (None,)) for batch in batch_sizes)
    feeds = make_feeds(subjects, texts, grid)
    for entry, cases in zip(subjects, feeds, strict=True):
        if entry.kind == "onnx":
            _check_graph(entry, cases)
    threads = threads or open_bundle(first.path).manifest.session.get("intra_op_num_threads")
    return ProfilePlan(
        subjects,
        tuple(texts),
        told_place(data.source) if data else "golden samples",
        grid,
        feeds,
        threads,
        warmup,
        runs,
        loads,
        device,
    )


def _find(entry: str | Path | Subject, provider: str | None) -> Subject:
    if isinstance(entry, Subject):
        return entry
    found = find_subject(entry)
    return replace(found, provider=provider) if found.kind == "bundle" else found


def _check_counts(batches: Sequence[int], counts: dict[str, int], warmup: int) -> None:
    if not batches or min(batches) < 1:
        raise UsageError(
            f"batch sizes are {list(batches)}; expected at least one, each 1 or more.", hint="Give --batch 1."
        )
    for name, value in counts.items():
        if value < 1:
            raise UsageError(f"{name} is {value}; expected 1 or more.", hint=f"Give --{name} 1 or more.")
    if warmup < 0:
        raise UsageError(f"warmup is {warmup}; expected 0 or more.", hint="Give --warmup 0 or more.")


def _check_lengths(entry: Subject, lengths: Sequence[int]) -> None:
    longest = entry.longest
    if any(length < 2 or (longest is not None and length > longest) for length in lengths):
        reads = "2 tokens or more" if longest is None else f"2 to {longest} tokens"
        raise UsageError(
            f"sequence lengths are {list(lengths)}; {entry.name} reads {reads}.",
            hint=f"Give --sequence {longest} or less." if longest else "",
        )


def _check_graph(entry: Subject, cases: Sequence[Sequence[Feeds]]) -> None:
    """Refuse an ONNX file whose inputs are not those that the calls bring: onnxruntime would, at the first one."""
    given = cases[0][0]
    specs = read_inputs(entry.path)
    unknown = [spec.name for spec in specs if spec.name not in given]
    if unknown or not specs:
        raise InputError(
            f"{entry.path}: the graph needs inputs that the bundle's texts do not give: "
            f"{', '.join(unknown) or 'none named'}.",
            hint=f"Inputs must be among: {', '.join(given)}.",
        )
    for spec in specs:
        if spec.dtype != "int64":
            raise InputError(
                f"{entry.path}: its input {spec.name} is {spec.dtype}; texts give int64.",
                hint="Export it with inputs of int64.",
            )
        shapes = {
            (len(feeds[spec.name]), len(feeds[spec.name][0])) for feeds in (feeds for case in cases for feeds in case)
        }
        misfits = [shape for shape in sorted(shapes) if not _fits(spec.shape, shape)]
        if misfits:
            raise UsageError(
                f"{entry.path}: its input {spec.name} is {list(spec.shape)}; this profile gives {list(misfits[0])}.",
                hint="Choose --batch and --sequence by the sizes that its graph fixes, or export it with free ones.",
            )


def _fits(wanted: tuple[int | str, ...], shape: tuple[int, int]) -> bool:
    """Whether (texts, tokens) may be given where these axes are asked for; no axes: nothing is said of them."""
    return not wanted or (
        len(wanted) == len(shape)
        and all(isinstance(axis, str) or axis == size for axis, size in zip(wanted, shape, strict=True))
    )
