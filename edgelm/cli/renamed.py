"""Options that once had another name or lived in another command: refused with the spelling of today, never taken."""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.errors import UsageError

# By command and old option: what to type today, after "Use".
RENAMED: dict[str, dict[str, str]] = {
    "finetune": {"--precision": "--train-precision: the arithmetic of training; --precision is that of a bundle."},
    "compress": {"--for": "--precision: that of the bundle, in which budgets are meant."},
    "export": {
        "--batch": "--max-batch: the most texts that a GPU answers at once; --batch is what a profile measures."
    },
    "profile": {
        "--table": "`edgelm latency-table MODEL --output FILE`, a command of its own.",
        "--for": "`edgelm latency-table MODEL --output FILE --precision int8`, a command of its own.",
        "--estimate": "`edgelm estimate BUNDLE --device DEVICE`; --with-estimate stands one beside what is measured.",
        "--device": "--machine: which device this machine is; --device is the one that is built or estimated for.",
    },
}


def check_renamed(command: str, words: Sequence[str]) -> None:
    """Refuse old options; what follows `--` is no option.

    Raises:
        UsageError: an option has another name today.
    """
    options = words[: words.index("--")] if "--" in words else words
    for name in (word.split("=")[0] for word in options):
        if name in RENAMED.get(command, {}):
            raise UsageError(f"edgelm {command} has no option {name} any more.", hint=f"Use {RENAMED[command][name]}")
