"""Session settings by measurement: each is tried beside the one in use, on this machine, and kept if it helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgelm.bundles.edit import add_optimized_graph, check_answers, open_draft, remove_leftover, save_settings
from edgelm.clock import Clock
from edgelm.data.dataset import Dataset
from edgelm.errors import UsageError
from edgelm.files.claims import claim
from edgelm.hardware.machine import describe_machine
from edgelm.profile.generation.plan import generation_points
from edgelm.profile.generation.worker import NEXT
from edgelm.profile.inputs import Feeds, find_texts, make_feeds
from edgelm.profile.subject import Subject, find_subject
from edgelm.profile.tune_bench import Bench, Settings, Trial
from edgelm.progress import Progress, silent
from edgelm.runtime import Bundle, open_bundle
from edgelm.runtime.graph_spec import OPTIMIZED_FILE
from edgelm.runtime.native import NATIVE
from edgelm.runtime.provider import wanted_providers
from edgelm.runtime.session import available_cores, optimizer

FASTER = 0.97  # of the latency: what a setting must reach to be kept for speed
_SURE = 0.75  # and in this share of the blocks of calls
_HEAVY = 1.1  # times the memory: too much for that
_AS_FAST = 1.01
_LIGHTER = 0.93  # of load time or peak memory: what it must reach to be kept for that, where it is as fast
_AS_LIGHT = 1.03
_OF_WRITERS = ("threads", "spinning")  # what is turned where the model writes
_OF_NATIVE = ("threads", "mapped weights")  # and where edgelm-native runs it, which has no other knob
_CONTEXT = 256  # tokens behind which a model writes while it is tuned, if it holds as many


@dataclass(frozen=True)
class Tuning:
    """What tuning found: `before` and `after` are measured side by side when all is chosen.

    Attributes:
        skipped: knobs for which there was no time.
    """

    path: str
    before: Trial
    after: Trial
    trials: tuple[Trial, ...]
    skipped: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm tune --json` prints."""
        return asdict(self)


def tune(
    bundle: str | Path,
    *,
    data: Dataset | None = None,
    time_limit: float = 60.0,
    began: float | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Tuning:
    """Find the session settings that suit this machine, and write them into the bundle's manifest.

    One knob after the other (threads, spinning, execution mode, arena, prepacking, mapped weights, an optimized graph
    kept in the bundle; of a model that writes threads and spinning, by the time of a token; where edgelm-native runs
    it, threads and mapped weights): its values run interleaved with the best so far, on the same texts, each in a
    process of its own. A value is kept if it is 3 % faster (and so
    in three of four blocks of calls), or as fast and 7 % lighter in load time or peak memory.

    Args:
        data: texts to run; None: the bundle's golden samples. A model that writes takes none.
        time_limit: in seconds, from the call on; knobs that could not be tried in time stay as they are.
        began: when the limit began to run, by `time.monotonic()`; None: with this call.
        dry_run: measure alone; the bundle stays as it is.

    Raises:
        UsageError: no bundle, a limit too short to try anything, or data for a model that writes.
        OutputInUseError: another process changes it.
        BundleError: it fails its own check, before or with the settings found; it is left as it was.
    """
    clock = Clock(time_limit, began)
    if time_limit < 5:
        raise UsageError(
            f"a time limit of {time_limit:g} s is too short to measure anything.", hint="Give --time-limit 5 or more."
        )
    subject = find_subject(bundle)
    if subject.kind != "bundle":
        raise UsageError(
            f"{bundle} is no bundle; there are no session settings to keep.", hint="`edgelm export` makes a bundle."
        )
    with claim(subject.path.resolve()):
        opened = open_bundle(subject.path)
        remove_leftover(opened)
        start = clock.spent_s
        check_answers(opened.path)
        clock.reserve_s = clock.spent_s - start  # as the end will check it
        feeds = _token_feeds(subject, data) if subject.generates else _text_feeds(subject, data)
        in_use = opened.manifest.graphs[-1].session  # those of a bundle's graphs are the same
        original = {name: value for name, value in in_use.items() if name not in ("tuned", "optimized_by")}
        best, trials, skipped = original, [], []
        with open_draft(opened) as draft:
            tried = subject if opened.is_file else replace(subject, path=draft)
            with Bench(tried, feeds, original, clock) as bench:
                bench.check_room()
                for knob, variants in _turned(opened):
                    candidates = [(value, best | change) for value, change in variants(best)]
                    if not candidates:
                        continue
                    if not bench.has_room(1 + len(candidates)):
                        skipped.append(knob)
                        continue
                    if any("optimized_by" in settings for _, settings in candidates):
                        add_optimized_graph(draft, best | {"mapped": True})
                    found = bench.compare([("as before", best), *candidates], knob, progress)
                    chosen = choose(found)
                    best = found[chosen].settings
                    trials += [replace(trial, kept=number == chosen) for number, trial in enumerate(found) if number]
                before, after = bench.compare([("before", original), ("after", best)], "check", progress, last=True)
            if not dry_run:
                save_settings(opened, draft, best | {"tuned": _tuned(before, after)})
        return Tuning(str(bundle), before, replace(after, kept=True), tuple(trials), tuple(skipped), clock.spent_s)


def _text_feeds(subject: Subject, data: Dataset | None) -> list[Feeds]:
    return make_feeds([subject], find_texts([subject], data), [(1, None)])[0][0]


def _token_feeds(subject: Subject, data: Dataset | None) -> list[Feeds]:
    """What a model that writes is timed on: one token more behind a context.

    Raises:
        UsageError: data, which it takes none of.
    """
    if data is not None:
        raise UsageError(f"{subject.path} writes text: it is tuned by the time of a token.", hint="Leave --data out.")
    points = generation_points([subject])
    context = max((point.tokens for point in points if point.measure == NEXT and point.tokens <= _CONTEXT), default=1)
    return [{"measure": NEXT, "tokens": context}]


def choose(trials: Sequence[Trial]) -> int:
    """Index of the settings to go on with: the first is in use and stays unless another helps."""
    current = trials[0]
    faster, lighter = [], [0]
    for index, trial in enumerate(trials[1:], start=1):
        session, memory = trial.session_ms / current.session_ms, trial.peak_memory_mb / current.peak_memory_mb
        if trial.ratio < FASTER and trial.sure >= _SURE and memory < _HEAVY:
            faster.append(index)
        if trial.ratio <= _AS_FAST and min(session, memory) < _LIGHTER and max(session, memory) < _AS_LIGHT:
            lighter.append(index)
    if faster:
        return min(faster, key=lambda index: trials[index].ratio)
    return min(lighter, key=lambda index: trials[index].session_ms * trials[index].peak_memory_mb)


def _turned(bundle: Bundle) -> list[tuple[str, Callable[[Settings], Iterator[tuple[str, Settings]]]]]:
    """The knobs that change anything for what runs the bundle here."""
    knobs = _knobs(bundle)
    if bundle.manifest.task.generates:
        return [knob for knob in knobs if knob[0] in _OF_WRITERS]
    if wanted_providers(bundle)[0] == NATIVE:
        return [knob for knob in knobs if knob[0] in _OF_NATIVE]
    return knobs


def _knobs(bundle: Bundle) -> list[tuple[str, Callable[[Settings], Iterator[tuple[str, Settings]]]]]:
    """What can be turned: a name, and the values other than the one in use, each with the change that it makes."""
    cores = available_cores()
    counts = sorted({1, 2, 4, 8, cores // 2, cores} & set(range(1, cores + 1)), reverse=True)

    def threads(now: Settings) -> Iterator[tuple[str, Settings]]:
        used = now.get("intra_op_num_threads") or cores
        yield from ((str(count), {"intra_op_num_threads": count}) for count in counts if count != used)

    def switch(key: str, *, default: bool) -> Callable[[Settings], Iterator[tuple[str, Settings]]]:
        def variants(now: Settings) -> Iterator[tuple[str, Settings]]:
            value = not now.get(key, default)
            yield "on" if value else "off", {key: value}

        return variants

    def entry(key: str, *, on: str, off: str) -> Callable[[Settings], Iterator[tuple[str, Settings]]]:
        def variants(now: Settings) -> Iterator[tuple[str, Settings]]:
            entries = now.get("entries", {})
            value = on if entries.get(key, on) == off else off
            yield "on" if value == on else "off", {"entries": entries | {key: value}}

        return variants

    def optimized(_: Settings) -> Iterator[tuple[str, Settings]]:
        yield "on", {"optimized_by": optimizer()}

    knobs: list[tuple[str, Callable[[Settings], Iterator[tuple[str, Settings]]]]] = [
        ("threads", threads),
        ("spinning", entry("session.intra_op.allow_spinning", on="1", off="0")),
        ("parallel execution", switch("parallel", default=False)),
        ("arena", switch("arena", default=True)),
        ("prepacking", entry("session.disable_prepacking", on="0", off="1")),
    ]
    if not bundle.is_file and not bundle.seals(OPTIMIZED_FILE):
        knobs.append(("optimized graph", optimized))
    if not bundle.is_file:
        knobs.append(("mapped weights", switch("mapped", default=True)))
    return knobs


def _tuned(before: Trial, after: Trial) -> dict[str, Any]:
    """What the manifest says of the tuning: where, when, and what it gave."""
    machine = describe_machine()
    return {
        "machine": machine.cpu,
        "cores": machine.cores,
        "onnxruntime": machine.versions.get("onnxruntime"),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "p50_ms": {"before": before.p50_ms, "after": after.p50_ms},
    }
