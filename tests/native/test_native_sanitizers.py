"""The library with compilers' sanitizers: reads and writes out of place, undefined operations, races."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SOURCE, build_library, require_tools

HERE = Path(__file__).parent

# Runs, wrong inputs and damaged programs, as the usual tests have them, in a process that loads the sanitizer first.
WORK = """
import sys
import numpy as np
from programs import TOKENS, VOCABULARY, hand_made
import edgelm_native as native

random = np.random.default_rng(0)
text = hand_made().text
for name in native.instruction_sets():
    encoder = native.Encoder(text, b"\\0", instruction_set=name)
    for batch, tokens in ((1, 1), (1, 25), (3, 17), (2, TOKENS)):
        ids = random.integers(0, VOCABULARY, (batch, tokens))
        for threads in (1, 2, 4):
            encoder({"input_ids": ids, "attention_mask": random.integers(0, 2, ids.shape)}, threads=threads)
head, data = text.split(b"\\ndata\\n")
words = head.split(b" ")
for _ in range(int(sys.argv[1])):
    changed = list(words)
    changed[random.integers(len(words))] = str(int(random.choice([-1, 0, 1, 3, 16, 255, 65536, 1 << 31]))).encode()
    try:
        encoder = native.Encoder(b" ".join(changed) + b"\\ndata\\n" + data, b"\\0")
        encoder({"input_ids": np.zeros((2, 5), np.int64)}, threads=2)
    except native.NativeError:
        pass
print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sanitizers", "library", "damaged"),
    [("address,undefined", "libasan.so", 500), ("thread", "libtsan.so", 0)],
    ids=["address", "thread"],
)
def test_no_sanitizer_finds_anything(tmp_path, sanitizers, library, damaged):
    require_tools()
    built = build_library(
        tmp_path / "built", f"-DEDGELM_NATIVE_SANITIZE={sanitizers}", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"
    )
    package = tmp_path / "packages" / "edgelm_native"
    package.mkdir(parents=True)
    for file in [*(SOURCE / "edgelm_native").glob("*.py"), built]:
        (package / file.name).write_bytes(file.read_bytes())
    preload = subprocess.run(["c++", f"-print-file-name={library}"], capture_output=True, text=True).stdout.strip()
    if not Path(preload).is_file():
        pytest.skip(f"the compiler has no {library}")
    paths = [str(package.parent), str(HERE), str(HERE.parents[1])]
    settings = {
        "PYTHONPATH": os.pathsep.join(paths),
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps what it has until it ends
        "OPENBLAS_NUM_THREADS": "1",
    }
    found = subprocess.run(
        [sys.executable, "-c", WORK, str(damaged)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.stdout.strip() == "done", found.stderr[-3000:]
    assert "ThreadSanitizer" not in found.stderr
