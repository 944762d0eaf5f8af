"""A bundle's own `run.py`, with the part of edgelm that it needs beside it: no installation on the device."""

from __future__ import annotations

from pathlib import Path

from edgelm.runtime.manifest import RUNTIME_FOLDER

SCRIPT = '''"""Answers with this bundle. Needs numpy, tokenizers and onnxruntime, or edgelm-native in place of
the last where the bundle holds a native.program; edgelm need not be installed.

    python run.py "This is a great movie!"
    python run.py --file texts.txt        one text a line; - reads stdin. A tab stands between the texts of a pair, a
                                          question and its text, a text and its endings; these also as JSON lines
    python run.py --set max_new_tokens=64 "..."   a setting of a model that writes
    python run.py --chat                  talk with a model that has a chat template; needs jinja2 as well
    python run.py --verify                hashes and golden samples
    python run.py --provider cpu "..."    by this one of tensorrt, tensorrt-rtx, cuda, openvino, coreml,
                                          qnn, xnnpack, cpu, or not at all
    python run.py --key maker.public.pem "..."    only if this key has signed the bundle; needs cryptography as well

Who can change the bundle can change this file too: take --key for a check where run.py itself is kept safe, or check
with an edgelm that is installed: edgelm verify --key.
"""

import sys

# Python looks for modules beside a script first: nothing that was put there may run, not even as the standard library.
BESIDE = [] if sys.flags.isolated or getattr(sys.flags, "safe_path", False) else sys.path[:1]
del sys.path[: len(BESIDE)]
sys.dont_write_bytecode = True  # a bundle stays as it was made

import argparse  # noqa: E402
import base64  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import warnings  # noqa: E402
from importlib.util import spec_from_file_location  # noqa: E402
from pathlib import Path  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[:0] = BESIDE
sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != str(HERE)]


KEYS = argparse.ArgumentParser(add_help=False)
KEYS.add_argument("--key", metavar="PEM", help="public key that must have signed this; every file is then checked")
KEY = KEYS.parse_known_args()[0].key


def check_signature(text):
    """Refuse a manifest that the key has not signed: before anything of the bundle but this file runs."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        signature = base64.b64decode(json.loads((HERE / "signature.json").read_bytes())["signature"])
        load_pem_public_key(Path(KEY).read_bytes()).verify(signature, text)
    except InvalidSignature:
        raise ValueError(f"{HERE / 'manifest.json'} is not signed by {KEY}") from None


class Runtime:
    """Imports edgelm from the files in runtime/ that the manifest lists, as they were when their hashes were compared.

    No other files, no bytecode.
    """

    def __init__(self):
        self.sources = {}
        if not (HERE / "manifest.json").is_file():  # a pipe would be waited for
            raise ValueError(f"{HERE / 'manifest.json'} is missing")
        text = (HERE / "manifest.json").read_bytes()
        if KEY is not None:
            check_signature(text)
        for entry in json.loads(text)["files"]:
            name = entry["path"]
            if name.startswith("runtime/edgelm/"):
                if not (HERE / name).is_file():
                    raise ValueError(f"{HERE / name} is missing")
                self.sources[name] = (HERE / name).read_bytes()
                if hashlib.sha256(self.sources[name]).hexdigest() != entry["sha256"]:
                    raise ValueError(f"{HERE / name}: its content was changed")
        if "runtime/edgelm/__init__.py" not in self.sources:
            raise ValueError(f"{HERE}: its runtime is missing")

    def find_spec(self, name, path=None, target=None):
        stem = "runtime/" + name.replace(".", "/")
        for file, folders in ((stem + "/__init__.py", []), (stem + ".py", None)):
            if file in self.sources:
                return spec_from_file_location(name, str(HERE / file), loader=self, submodule_search_locations=folders)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        file = Path(module.__file__)
        source = self.sources[file.relative_to(HERE).as_posix()]
        exec(compile(source, str(file), "exec", dont_inherit=True), module.__dict__)


try:
    sys.meta_path.insert(0, Runtime())
except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    hint = "Copy the bundle again, or get it from its maker."
    print(f"Error: not a bundle, or changed ({ascii(str(error))[1:-1]}).\\\\n{hint}", file=sys.stderr)
    sys.exit(4)

NEEDED = "Install numpy, tokenizers and onnxruntime; if they are there, copy the bundle again."
try:
    from edgelm.errors import EdgelmError
    from edgelm.lines import json_line, plain_text
    from edgelm.runtime import load
    from edgelm.runtime.inputs.files import parse_sample, read_samples
except ImportError as error:
    sys.exit(f"Error: {error}.\\n{NEEDED}")


def main():
    parser = argparse.ArgumentParser(description="Answer texts with this bundle, as JSON lines.", parents=[KEYS])
    parser.add_argument("texts", nargs="*", help="texts; each as a line of --file")
    parser.add_argument("--file", help="file with one text a line; - for stdin")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--provider", help="what must run it; default: the first that its device prefers and is here")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of writing")
    parser.add_argument("--chat", action="store_true", help="talk: a line is a message")
    parser.add_argument("--verify", action="store_true", help="check hashes and replay the golden samples")
    parser.add_argument("--device-key", metavar="PEM", help="public key that signed what this device added since")
    options = parser.parse_args()
    if options.key != KEY:
        parser.error("give --key before the texts")
    warnings.formatwarning = lambda message, *where: f"Warning: {plain_text(str(message))}\\\\n"
    if options.verify:
        from edgelm.runtime.trust import Trust
        from edgelm.runtime.verify import verify

        trust = Trust.by(options.key, device_key=options.device_key)
        result = verify(HERE, provider=options.provider, trust=trust)
        print(json_line(result.to_dict()))
        return 0 if result.ok else 4
    if not options.texts and not options.file and not options.chat:
        parser.error("give a text, or --file")
    keys = {"key": options.key, "device_key": options.device_key}
    model = load(HERE, threads=options.threads, provider=options.provider, **keys)
    task = model.manifest.task
    if (options.chat or options.set) and not task.generates:
        parser.error("--chat and --set are for models that write")
    settings = dict(map(read_setting, options.set))
    if options.chat:
        return talk(model, settings)
    texts = [parse_sample(task, text) for text in options.texts]
    for text in (*texts, *(read_samples(task, options.file) if options.file else ())):
        answer = {"answer": model(text, **settings)} if task.generates else model(text)
        print(json_line({"text": text, **answer}))
    return 0


def read_setting(given):
    name, _, value = given.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def talk(model, settings):
    messages = []
    for line in sys.stdin:
        messages.append({"role": "user", "content": line.strip()})
        said = []
        for piece in model.stream(messages, **settings):
            print(plain_text(piece) if sys.stdout.isatty() else piece, end="", flush=True)
            said.append(piece)
        print(flush=True)
        messages.append({"role": "assistant", "content": "".join(said)})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ImportError as error:
        sys.exit(f"Error: {error}.\\n{NEEDED}")
    except (EdgelmError, OSError) as error:
        print(f"Error: {plain_text(str(error))}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
'''.replace("\\\\", "\\")


def vendored_files(*, generates: bool = True) -> dict[str, Path]:
    """The modules that a bundle carries: path inside the bundle, and where each is now.

    Args:
        generates: its model writes text; else what writes is left out.
    """
    package = Path(__file__).resolve().parents[1]
    nouns = ("__init__", "version", "errors", "field_types", "limits", "lines", "notebook")
    modules = [package / f"{name}.py" for name in nouns]
    modules += sorted(path for room in ("tasks", "runtime") for path in (package / room).rglob("*.py"))
    if not generates:
        writing = package / "runtime" / "generation"
        modules = [module for module in modules if not module.is_relative_to(writing)]
    return {f"{RUNTIME_FOLDER}/edgelm/{module.relative_to(package).as_posix()}": module for module in modules}
