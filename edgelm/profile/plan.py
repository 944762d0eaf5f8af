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
from edgelm.profile.generation.plan import GenerationPoint, generation_points
from edgelm.profile.generation.worker import NEXT
from edgelm.profile.inputs import Feeds, find_texts, made_up_lengths, make_feeds
from edgelm.profile.onnx_signature import read_inputs
from edgelm.profile.points import Pace, Point, TextPoint
from edgelm.profile.subject import Subject, find_subject
from edgelm.runtime import open_bundle
from edgelm.runtime.generation.decoder import DECODER
from edgelm.runtime.provider import check_provider

MADE_UP_TEXTS = "made-up tokens"  # where no text is read
GOLDEN_SAMPLES = "golden samples"  # of the first bundle, where no other texts are given
_WARMUP, _RUNS = 20, 300  # calls of a model that answers


@dataclass(frozen=True)
class ProfilePlan:
    """A profile that can be made.

    Attributes:
        subjects: what is measured; the first is a bundle or a checkpoint.
        texts: that the calls are made of; `source` says where they are from.
        grid: each case.
        feeds: per subject and case the inputs of calls.
        threads: of every subject; None: one a core of the place.
        calls: of each case, not counted and counted, to note.
        loads: as `edgelm.profile.pipeline.profile` takes it.
        device: a name to note.
        grown: in which of the cases the memory of fresh processes is measured, one after the other in each.
    """

    subjects: tuple[Subject, ...]
    texts: tuple[Any, ...]
    source: str
    grid: tuple[Point, ...]
    feeds: list[list[list[Feeds]]]
    threads: int | None
    calls: dict[str, int]
    loads: int
    device: str | None
    grown: tuple[int, ...] = (0,)


def plan_profile(
    subject: str | Path | Subject,
    *,
    compare: Sequence[str | Path | Subject] = (),
    batch_sizes: Sequence[int] = (1,),
    sequence_lengths: Sequence[int] = (),
    prompt_lengths: Sequence[int] = (),
    contexts: Sequence[int] = (),
    data: Dataset | None = None,
    threads: int | None = None,
    warmup: int | None = None,
    runs: int | None = None,
    loads: int = 3,
    device: str | None = None,
    provider: str | None = None,
) -> ProfilePlan:
    """Check all that can be known before a place is: arguments and errors are those of
    `edgelm.profile.pipeline.profile`."""
    check_provider(provider)
    _check_counts(
        batch_sizes, {"threads": threads or 1, "runs": 1 if runs is None else runs, "loads": loads}, warmup or 0
    )
    first = _find(subject, provider)
    if first.kind not in ("bundle", "pytorch"):
        raise UsageError(
            f"{first.path} is no bundle or checkpoint; the texts or tokenizer of one are needed.",
            hint="Give a bundle or a checkpoint first, and the others with --compare.",
        )
    if first.kind == "pytorch":
        first = replace(first, provider=first.provider or provider)
    subjects = (first, *(_find(entry, provider) for entry in compare))
    for entry in subjects:
        if entry.kind == "bundle":
            open_bundle(entry.path).check_sizes()
    if first.generates:
        refuse(first, "writes text", batch=tuple(batch_sizes) != (1,), sequence=bool(sequence_lengths), data=data)
        points = generation_points(subjects, prompt_lengths=prompt_lengths, contexts=contexts, warmup=warmup, runs=runs)
        return _plan_writing(subjects, points, threads, loads, device)
    refuse(first, "writes no text", prompt_length=bool(prompt_lengths), context=bool(contexts))
    for entry in subjects:
        if entry.generates:
            raise UsageError(f"{entry.path} writes text; {first.name} does not.", hint="Compare models of one kind.")
        _check_lengths(entry, sequence_lengths)
    if data is not None and not len(data):
        raise UsageError(f"{data.source}: no texts.", hint="Give a file with texts with --data.")
    texts = find_texts(subjects, data)
    lengths = sequence_lengths or ((None,) if texts else made_up_lengths(subjects))
    sizes = tuple((batch, sequence) for sequence in lengths for batch in batch_sizes)
    feeds = make_feeds(subjects, texts, sizes)
    for entry, cases in zip(subjects, feeds, strict=True):
        if entry.kind == "onnx":
            _check_graph(entry, cases)
    pace = Pace(_WARMUP if warmup is None else warmup, _RUNS if runs is None else runs)
    return ProfilePlan(
        subjects,
        tuple(texts),
        told_place(data.source) if data else GOLDEN_SAMPLES if texts else MADE_UP_TEXTS,
        tuple(TextPoint(batch, sequence, pace) for batch, sequence in sizes),
        feeds,
        threads or _own_threads(first),
        {"warmup": pace.warmup, "runs": pace.runs},
        loads,
        device,
    )


def _plan_writing(
    subjects: tuple[Subject, ...],
    points: tuple[GenerationPoint, ...],
    threads: int | None,
    loads: int,
    device: str | None,
) -> ProfilePlan:
    """Of models that write."""
    tokens, prompts = points[0].pace, points[-1].pace
    return ProfilePlan(
        subjects,
        (),
        MADE_UP_TEXTS,
        points,
        [[[point.feed] for point in points] for _ in subjects],
        threads or _own_threads(subjects[0]),
        {"warmup": tokens.warmup, "runs": tokens.runs, "prompt_runs": prompts.runs},
        loads,
        device,
        grown=tuple(number for number, point in enumerate(points) if point.measure == NEXT),
    )


def _own_threads(first: Subject) -> int | None:
    """What the session settings of a bundle say."""
    if first.kind != "bundle":
        return None
    manifest = open_bundle(first.path).manifest
    session = manifest.graph(DECODER).session if first.generates else manifest.session
    threads: int | None = session.get("intra_op_num_threads")
    return threads


def refuse(first: Subject, why: str, **given: Any) -> None:
    """Options that mean nothing for this kind of model.

    Raises:
        UsageError: one was given.
    """
    for name, value in given.items():
        if value:
            option = name.replace("_", "-")
            raise UsageError(f"{first.path} {why}: --{option} says nothing of it.", hint=f"Leave --{option} out.")


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
