"""The C++ example that a bundle carries, for devices without Python: a program for each way to use a model."""

from __future__ import annotations

from pathlib import Path

from edgelm.tasks.task import Task

ANSWERED = ("text-classification", "sentence-embedding")  # kinds of tasks that answer.cpp knows
_COMMON = (
    "CMakeLists.txt",
    *(f"{part}.{ending}" for part in ("bundle", "graphs") for ending in ("cpp", "h")),
    *("tokenizer.h", "tokenizer/Cargo.toml", "tokenizer/tokenizer.rs"),
)
_PARTS = {  # of a program, beside those of all
    "answer": ("answer.cpp", "outputs.h", "outputs_native.cpp", "outputs_onnxruntime.cpp"),
    "write": (
        "write.cpp",
        *(f"{part}.{ending}" for part in ("choosing", "decoder", "settings", "streaming") for ending in ("cpp", "h")),
    ),
}


def cpp_program(task: Task) -> str:
    """The program for models of a task; "" where there is none."""
    if task.generates:
        return "write"
    return "answer" if task.kind in ANSWERED else ""


def cpp_files(*programs: str) -> dict[str, Path]:
    """What builds these programs: path inside the bundle, and where each file is now."""
    folder = Path(__file__).resolve().parents[1] / "export" / "cpp"
    own = [part for program in programs for part in _PARTS[program]]
    return {f"cpp/{name}": folder / name for name in (*_COMMON, *own)}


def cpp_line(program: str) -> str:
    """How a program is built and called, for the bundle's card."""
    return (
        f"Without Python: the C++ example in `cpp/`. `cmake -S cpp -B ../{program} "
        f"-DONNXRUNTIME_ROOT=/path/to/onnxruntime && cmake --build ../{program}` makes `../{program}/{program}`; "
        f"`cpp/{program}.cpp` says what that takes, and how it is called."
    )
