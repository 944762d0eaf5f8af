"""The library, built from native/ once for all tests, and for no other test to see."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "native"


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


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """The package `edgelm_native`, importable as long as the module's tests run."""
    require_tools()
    root = Path(tempfile.gettempdir()) / f"edgelm-native-{os.getuid()}"  # kept for the next run
    root.mkdir(mode=0o700, exist_ok=True)
    library = build_library(root / sources_hash())
    packages = tmp_path_factory.mktemp("packages")
    shutil.copytree(SOURCE / "edgelm_native", packages / "edgelm_native", ignore=shutil.ignore_patterns("*.so"))
    shutil.copy(library, packages / "edgelm_native")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("edgelm_native")}
    sys.path.insert(0, str(packages))
    import edgelm_native

    yield edgelm_native
    sys.path.remove(str(packages))
    for name in [name for name in sys.modules if name.startswith("edgelm_native")]:
        del sys.modules[name]
    sys.modules.update(before)
