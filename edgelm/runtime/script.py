"""A bundle's own `run.py`, with the part of edgelm that it needs beside it: no installation on the device."""

from __future__ import annotations

from pathlib import Path

from edgelm.runtime.manifest import RUNTIME_FOLDER

SCRIPT = '''"""Answers with this bundle. Needs numpy, tokenizers and onnxruntime; edgelm need not be installed.

    python run.py "This is a great movie!"
    python run.py --file texts.txt        one text a line, a tab between the texts of a pair; - reads stdin
    python run.py --verify                hashes and golden samples
    python run.py --provider cpu "..."    by this one of tensorrt, tensorrt-rtx, cuda, openvino, coreml, qnn, xnnpack, cpu, or not at all
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # a bundle stays as it was made
sys.path.insert(0, str(HERE / "runtime"))

from edgelm.errors import EdgelmError  # noqa: E402
from edgelm.lines import read_lines  # noqa: E402
from edgelm.runtime import load  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description="Answer texts with this bundle, as JSON lines.")
    parser.add_argument("texts", nargs="*", help="texts; a tab separates the two of a pair, where the model reads pairs")
    parser.add_argument("--file", help="file with one text a line; - for stdin")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--provider", help="what must run it; default: the first that its device prefers and is here")
    parser.add_argument("--verify", action="store_true", help="check hashes and replay the golden samples")
    options = parser.parse_args()
    warnings.formatwarning = lambda message, *where: f"Warning: {message}\\\\n"
    if options.verify:
        from edgelm.runtime.verify import verify

        result = verify(HERE, provider=options.provider)
        print(json.dumps(result.to_dict()))
        return 0 if result.ok else 4
    if not options.texts and not options.file:
        parser.error("give a text, or --file")
    texts = [*options.texts, *(read_lines(options.file) if options.file else ())]
    model = load(HERE, threads=options.threads, provider=options.provider)
    pairs = model.manifest.task.pair  # a tab is part of the text for a model that reads one
    for text in texts:
        pair = tuple(text.split("\\\\t", 1))
        print(json.dumps({"text": text, **model(pair if pairs and len(pair) == 2 else text)}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (EdgelmError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
'''.replace("\\\\", "\\")


def vendored_files() -> dict[str, Path]:
    """The modules that a bundle carries: path inside the bundle, and where each is now."""
    package = Path(__file__).resolve().parents[1]
    modules = [package / name for name in ("__init__.py", "version.py", "errors.py", "lines.py", "task.py")]
    modules += sorted((package / "runtime").glob("*.py"))
    return {f"{RUNTIME_FOLDER}/edgelm/{module.relative_to(package).as_posix()}": module for module in modules}
