"""The library, built from native/ once for all tests, and for no other test to see."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from native_library import SOURCE, build_library, require_tools, sources_hash


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
