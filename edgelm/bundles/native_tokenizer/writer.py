"""The bytes of a native.tokenizer, as native/src/tokenizer/reader.h reads them."""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.bundles.native_tokenizer.fields import need

_MOST = (1 << 31) - 1


class TokenizerWriter:
    """Whole numbers in groups of 7 bits, lowest first; strings behind their lengths."""

    def __init__(self) -> None:
        self.data = bytearray()

    def numbers(self, *values: int) -> None:
        """Write some.

        Raises:
            UnknownTokenizer: one is negative, or has more than 31 bits.
        """
        for value in values:
            need(0 <= value <= _MOST, f"the number {value}")
            while value >= 0x80:
                self.data.append(value & 0x7F | 0x80)
                value >>= 7
            self.data.append(value)

    def string(self, value: bytes) -> None:
        """Write one."""
        self.numbers(len(value))
        self.data += value

    def rows(self, rows: Sequence[tuple[int, ...]]) -> None:
        """Write how many there are, then the numbers of each."""
        self.numbers(len(rows))
        for row in rows:
            self.numbers(*row)
