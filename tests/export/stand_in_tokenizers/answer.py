"""The Python process behind lib.rs: a tokenizer of the tokenizers package, asked over standard input."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from tokenizers import Tokenizer


def read_field() -> bytes:
    return sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(4), "little"))


def encode(tokenizer: Any, count: int) -> bytes:
    around, split_special = read_field()
    texts = [read_field().decode() for _ in range(count)]
    tokenizer.encode_special_tokens = bool(split_special)
    found = tokenizer.encode(*texts, add_special_tokens=bool(around))
    numbers = [0 if number is None else number + 1 for number in found.sequence_ids]
    return np.array([found.ids, found.attention_mask, found.type_ids, numbers], dtype="<u4").tobytes()


def decode(tokenizer: Any) -> bytes:
    text: str = tokenizer.decode(np.frombuffer(read_field(), dtype="<u4").tolist())
    return text.encode()


def answer(work: Callable[[], bytes]) -> None:
    try:
        status, found = 0, work()
    except Exception as error:  # tokenizers raises bare Exception
        status, found = 1, str(error).encode()
    sys.stdout.buffer.write(bytes([status]) + len(found).to_bytes(4, "little") + found)
    sys.stdout.buffer.flush()


def main() -> None:
    tokenizer: Any = None

    def open_file() -> bytes:
        nonlocal tokenizer
        tokenizer = Tokenizer.from_file(sys.argv[1])
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return b""

    commands: dict[bytes, Callable[[], bytes]] = {
        b"?": open_file,
        b"e": lambda: encode(tokenizer, 1),
        b"p": lambda: encode(tokenizer, 2),
        b"d": lambda: decode(tokenizer),
    }
    while command := sys.stdin.buffer.read(1):
        answer(commands[command])


if __name__ == "__main__":
    main()
