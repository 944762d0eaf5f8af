"""What goes to a device: the modules that run there, and what is measured."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgelm.errors import UsageError
from edgelm.profile.subject import Subject
from edgelm.runtime.manifest import RUNTIME_FOLDER
from edgelm.runtime.script import vendored_files

_MODULES = (
    "callable_package.py",
    "hardware/__init__.py",
    "hardware/machine.py",
    "profile/__init__.py",
    "hardware/busy.py",
    "hardware/memory_gauges.py",
    "hardware/power_sensors.py",
    "profile/generation/__init__.py",
    "profile/generation/bundle.py",
    "profile/generation/cache.py",
    "profile/generation/worker.py",
    "profile/monitor.py",
    "profile/timed_calls.py",
    "profile/worker.py",
)
_OTHERS = {"gguf": "a GGUF", "genai": "a folder of onnxruntime-genai"}  # kinds that another engine runs


def code_files() -> Iterator[tuple[str, Path]]:
    """The runtime, as bundles carry it, and what drives and watches it: path there, file here."""
    package = Path(__file__).resolve().parents[2]
    for name, file in vendored_files().items():
        yield f"code/{name.removeprefix(RUNTIME_FOLDER + '/')}", file
    for name in _MODULES:
        yield f"code/edgelm/{name}", package / name


def check_subjects(subjects: Sequence[Subject]) -> None:
    """Refuse what cannot be taken along.

    Raises:
        UsageError: a checkpoint, a GGUF or a folder of onnxruntime-genai: what runs it would have to be there.
    """
    for subject in subjects:
        if subject.kind in _OTHERS:
            raise UsageError(
                f"{subject.path} is {_OTHERS[subject.kind]}; on a host only bundles and ONNX files are measured.",
                hint="Leave it out.",
            )
        if subject.kind == "pytorch":
            raise UsageError(
                f"{subject.path} is a checkpoint; on a host only bundles and ONNX files are measured.",
                hint="Leave it out, or `edgelm export` it first.",
            )


def place_of(subject: Subject, subjects: Sequence[Subject]) -> str:
    """Where a subject lies, inside the folder there."""
    number = next(index for index, other in enumerate(subjects) if other.path == subject.path)
    return f"subjects/{number}/{subject.path.resolve().name}"


def subject_files(subjects: Sequence[Subject]) -> Iterator[tuple[str, Path]]:
    """The files of all subjects: path there, file here."""
    for path in dict.fromkeys(subject.path for subject in subjects):
        subject = next(entry for entry in subjects if entry.path == path)
        there = place_of(subject, subjects)
        if path.is_dir():
            yield from (
                (f"{there}/{file.relative_to(path).as_posix()}", file)
                for file in sorted(path.rglob("*"))
                if file.is_file()
            )
            continue
        yield there, path
        if subject.kind == "onnx":
            yield from ((f"{there.rpartition('/')[0]}/{file.name}", file) for file in _weights_beside(path))


def _weights_beside(graph: Path) -> Iterator[Path]:
    """Files beside an ONNX file that it names: its external weights, found without the package onnx."""
    others = [
        file
        for file in sorted(graph.resolve().parent.iterdir())
        if file.is_file() and file.name != graph.resolve().name
    ]
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from (other for other in others if data.find(other.name.encode()) >= 0)
