"""The library with compilers' sanitizers: reads and writes out of place, undefined operations, races."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from native_library import SOURCE, build_library, require_tools

HERE = Path(__file__).parent

# Runs, wrong inputs and damaged programs, as the usual tests have them, in a process that loads the sanitizer first.
WORK = """
import sys
import numpy as np
from programs import TOKENS, VOCABULARY, hand_made
import edgelm_native as native

random = np.random.default_rng(0)
texts = [hand_made(kind=kind).text for kind in ("", "modern", "disentangled", "halved", "leaving")]
for text, name in [(text, name) for text in texts for name in native.instruction_sets()]:
    encoder = native.Encoder(text, b"\\0", instruction_set=name)
    for batch, tokens in ((1, 1), (1, 25), (3, 17), (2, TOKENS)):
        ids = random.integers(0, VOCABULARY, (batch, tokens))
        for threads in (1, 2, 4):
            encoder({"input_ids": ids, "attention_mask": random.integers(0, 2, ids.shape)}, threads=threads)
parts = [text.split(b"\\ndata\\n") for text in texts]
for turn in range(int(sys.argv[1])):
    head, data = parts[turn % len(parts)]
    changed = words = head.split(b" ")
    changed[random.integers(len(words))] = str(int(random.choice([-1, 0, 1, 3, 16, 255, 65536, 1 << 31]))).encode()
    try:
        encoder = native.Encoder(b" ".join(changed) + b"\\ndata\\n" + data, b"\\0")
        encoder({"input_ids": np.zeros((2, 5), np.int64)}, threads=2)
    except native.NativeError:
        pass
print("done")
"""

# The same of tokenizers: hard texts in several threads, and damaged files.
READ = """
import sys, threading
import numpy as np
from read_texts import HARD, KINDS, random_texts, settings_of
from edgelm.bundles.native_tokenizer import compile_tokenizer
import edgelm_native as native

texts = [*HARD, *random_texts(100, seed=0)]

def read(tokenizer):
    for text, pair in zip(texts, texts[::-1]):
        for others in ((), (pair,)):
            try:
                tokenizer(text, *others)
            except native.UnknownText:
                pass

random = np.random.default_rng(0)
for kind in KINDS:
    file = compile_tokenizer(KINDS[kind](), settings_of(max_length=20))
    tokenizer = native.Tokenizer(file)
    threads = [threading.Thread(target=read, args=(tokenizer,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(int(sys.argv[1]) // 10):
        bad = bytearray(file)
        for _ in range(random.integers(1, 4)):
            bad[random.integers(19, 150 if random.random() < 0.5 else len(bad))] = random.integers(256)
        try:
            read(native.Tokenizer(bytes(bad[: random.integers(len(bad) // 2, 2 * len(bad))])))
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
@pytest.mark.parametrize("work", [WORK, READ], ids=["encoder", "tokenizer"])
def test_no_sanitizer_finds_anything(tmp_path, sanitizers, library, damaged, work):
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
        [sys.executable, "-c", work, str(damaged)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.stdout.strip() == "done", found.stderr[-3000:]
    assert "ThreadSanitizer" not in found.stderr
