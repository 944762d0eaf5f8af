"""arm64 CPUs that are not there: each is a process under the emulator that runs Python scripts, in the user space that
`scripts/arm64.sh` makes.

The emulator runs Python directly, without binfmt: nothing there may start a process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.runtime import load

# What /proc/cpuinfo says of each CPU: part, variant, revision and features, which onnxruntime reads beside what the
# kernel tells it.
_OLD = "fp asimd evtstrm crc32 cpuid"
_DOT = "fp asimd evtstrm crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CPUS = {
    "cortex-a72": ("0xd08", "0x0", 3, _OLD),  # Raspberry Pi 4: neither dot products nor FP16 arithmetic
    "cortex-a76": ("0xd0b", "0x4", 1, _DOT),  # Raspberry Pi 5; Jetson Orin's cores have the same instructions
    # Jetson Thor: 8-bit matrix products and SVE. SME no board has, and qemu 7.2 computes it wrongly.
    "max,sme=off": ("0xd4f", "0x0", 1, f"{_DOT} sve sve2 svei8mm i8mm bf16"),
}

# Loading Python's packages takes the emulator longer than a small bundle does, so one process runs many scripts.
_RUN_SCRIPTS = """
import contextlib, io, json, os, runpy, sys, traceback
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy, onnxruntime, tokenizers
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
path = list(sys.path)
for line in sys.stdin:
    sys.argv = json.loads(line)
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "edgelm"]:
        del sys.modules[name]  # each bundle brings its own
    printed, error = io.StringIO(), ""
    with contextlib.redirect_stdout(printed):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            error = f"exit code {end.code}" if end.code else ""
        except Exception:
            error = traceback.format_exc()
    print(json.dumps([printed.getvalue(), error]), file=replies, flush=True)
"""

_INFER = """
import json, sys
sys.path.insert(0, sys.argv[1] + "/runtime")
sys.dont_write_bytecode = True
import edgelm.runtime
model = edgelm.runtime.load(sys.argv[1])
print(json.dumps([model.infer(model.tokenize([text])).tolist()[0] for text in json.loads(sys.argv[2])]))
"""


class Missing(Exception):
    """What emulation needs is not installed or made; says what to do."""


def find_user_space() -> tuple[str, Path]:
    """The emulator, and the folder with Debian and the device's packages, which the environment variable EDGELM_ARM64
    names.

    Raises:
        Missing: one of them is not there.
    """
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator is None:
        raise Missing("qemu-aarch64 is not installed (Debian: qemu-user-static)")
    root = Path(os.environ.get("EDGELM_ARM64", "missing")).resolve()
    if not (root / "usr/bin/python3").exists():
        raise Missing("EDGELM_ARM64 names no arm64 user space: `bash scripts/arm64.sh FOLDER` makes one")
    return emulator, root


class EmulatedCpu:
    """Runs Python scripts as if on one of `CPUS`, in a process that starts with the first script; `close` ends it.

    Args:
        folder: an empty one, for what stands before the user space.

    Raises:
        Missing: see `find_user_space`.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._emulator, self._root = find_user_space()
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        part, variant, revision, features = CPUS[name]
        rows = {"processor": 0, "Features": features, "CPU implementer": "0x41", "CPU architecture": 8}
        rows |= {"CPU variant": variant, "CPU part": part, "CPU revision": revision}
        # Files here hide those of this machine, whose CPU is another: onnxruntime crashes on those.
        files = {
            "proc/cpuinfo": "".join(f"{row}\t: {value}\n" for row, value in rows.items()) + "\n",
            "sys/devices/system/cpu/possible": "0\n",
            "sys/devices/system/cpu/present": "0\n",
            "infer.py": _INFER,
        }
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        for link in ("lib", "usr"):
            (folder / link).symlink_to(self._root / link)

    def run(self, script: Path, *words: str) -> str:
        """What a script prints.

        Raises:
            RuntimeError: it fails; its own words are on stderr.
        """
        printed, error = self._ask(script, *words)
        if error:
            raise RuntimeError(f"{self.name}: {script}: {error}\n{printed}")
        return printed

    def verify(self, bundle: Path) -> dict[str, Any]:
        """What the bundle's own `run.py --verify` finds.

        Raises:
            RuntimeError: it finds nothing, for it fails itself.
        """
        printed, error = self._ask(bundle / "run.py", "--verify")
        if not printed:
            raise RuntimeError(f"{self.name}: {bundle}: {error}")
        return json.loads(printed)

    def outputs(self, bundle: Path, texts: Sequence[str]) -> np.ndarray:
        """(texts, width), float32, from the bundle's own runtime, a text at a time."""
        return np.array(
            json.loads(self.run(self._folder / "infer.py", str(bundle), json.dumps(texts))), dtype=np.float32
        )

    def _ask(self, script: Path, *words: str) -> tuple[str, str]:
        """What a script prints, and how it fails, if it does."""
        if self._process is None:
            python = [
                self._emulator,
                "-cpu",
                self.name,
                "-L",
                self._folder,
                self._root / "usr/bin/python3",
                "-I",
                "-c",
                _RUN_SCRIPTS,
            ]
            self._process = subprocess.Popen(
                python, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(script), *words]) + "\n")
        reply = self._process.stdout.readline()
        if not reply:
            raise RuntimeError(f"{self.name}: {script} ended the process, exit code {self.close()}")
        printed, error = json.loads(reply)
        return printed, error

    def close(self) -> int | None:
        """End the process, if there is one; its exit code. The next script starts another."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.communicate()  # it ends where its input does
        return process.returncode


def outputs_here(bundle: Path, texts: Sequence[str]) -> np.ndarray:
    """(texts, width), float32, of a bundle on this machine, a text at a time: what the emulated CPUs are compared
    with."""
    model = load(bundle)
    return np.concatenate([model.infer(model.tokenize([text])) for text in texts])
