"""Builds the library of native/ for tests."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "native"


def build_library(target: Path, *options: str) -> Path:
    """Build the library into a folder; where it then lies."""
    made = target / "libedgelm_native.so"
    if not made.is_file():
        aside = Path(tempfile.mkdtemp(dir=target.parent))  # two processes may build at once
        for command in (["cmake", "-S", SOURCE, "-B", aside, *options], ["cmake", "--build", aside, "-j2"]):
            subprocess.run(command, check=True, capture_output=True)
        target.mkdir(exist_ok=True)
        (aside / made.name).replace(made)
        shutil.rmtree(aside)
    return made


def sources_hash() -> str:
    """Of all that the library is made of."""
    found = (file for folder in ("src", "include") for file in SOURCE.glob(f"{folder}/**/*") if file.is_file())
    files = sorted([*found, SOURCE / "CMakeLists.txt"])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def require_tools() -> None:
    """Skip where the library cannot be built."""
    if sys.platform != "linux" or not shutil.which("cmake") or not (shutil.which("c++") or os.environ.get("CXX")):
        pytest.skip("edgelm-native is built with CMake and a C++ compiler")
