"""Writes what native/src/tokenizer knows of characters:

    python scripts/unicode_tables.py > native/src/tokenizer/unicode_tables.cpp

The tables are Python's own (unicodedata). What the tokenizers library, which has several versions of Unicode in it,
sees otherwise is marked as unknown, and so is what this Unicode has not assigned yet: a text with such a character is
left to the tokenizers library.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from tokenizers import Regex, normalizers, pre_tokenizers

# The bits of native/src/tokenizer/unicode.h.
FLAGS = (
    "dropped",
    "white",
    "punctuation",
    "mark",
    "letter",
    "number",
    "stripped",
    "lowered",
    "composes",
    "bert_unknown",
    "byte_level_unknown",
)
BITS = {name: 1 << place for place, name in enumerate(FLAGS)}
# The property White_Space, which is stable.
WHITE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
HANGUL = range(0xAC00, 0xD7A4)  # syllables, whose decompositions are calculated
VOWELS_AND_ENDS = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))  # which syllables are composed of


def code_points() -> Iterator[int]:
    """All that text can hold."""
    return itertools.chain(range(0xD800), range(0xE000, 0x110000))


def stripped(character: str) -> str:
    """Without accents."""
    return "".join(part for part in unicodedata.normalize("NFD", character) if unicodedata.category(part) != "Mn")


def read_character(code: int, second: set[str]) -> set[str]:
    """The names of the flags that a character has by unicodedata; without those of what is unknown."""
    character = chr(code)
    kind = unicodedata.category(character)
    ascii_sign = code < 0x80 and character.isprintable() and not character.isalnum() and character != " "
    found = {
        "dropped": code in (0, 0xFFFD) or (kind in ("Cc", "Cf", "Co") and character not in "\t\n\r"),
        "white": code in WHITE,
        "punctuation": kind.startswith("P") or ascii_sign,
        "mark": kind == "Mn",
        "letter": kind.startswith("L"),
        "number": kind.startswith("N"),
        "stripped": code not in HANGUL and kind != "Mn" and stripped(character) != character,
        "lowered": character.lower() != character,
        "composes": character in second
        or bool(unicodedata.combining(character))
        or not unicodedata.is_normalized("NFC", character),
    }
    return {name for name, holds in found.items() if holds}


def second_characters() -> set[str]:
    """What a character before it may be composed with."""
    found = {chr(code) for code in VOWELS_AND_ENDS}
    for code in code_points():
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(chr(int(parts[1], 16)))
    return found


def bert_differs() -> Callable[[int, set[str]], bool]:
    """Whether BertNormalizer or BertPreTokenizer sees a character otherwise; or it is a mark with a width, which may
    change places with another."""
    steps = ("clean_text", "strip_accents", "lowercase")
    clean, strip, lower = (
        normalizers.BertNormalizer(**{name: name == step for name in (*steps, "handle_chinese_chars")}).normalize_str
        for step in steps
    )
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str

    def differs(code: int, flags: set[str]) -> bool:
        character = chr(code)
        cleaned = "" if "dropped" in flags else " " if "white" in flags else character
        words = ["a", "b"] if "white" in flags else [f"a{character}b"]
        if "punctuation" in flags:
            words = ["a", character, "b"]
        return (
            clean(character) != cleaned
            or strip(character) != stripped(character)
            or lower(character) != character.lower()
            or [word for word, _ in split(f"a{character}b")] != words
            or (bool(unicodedata.combining(character)) and "mark" not in flags)
        )

    return differs


def byte_level_differs() -> Callable[[int, set[str]], bool]:
    """Whether the regular expressions of the tokenizers library, or its NFC, see a character otherwise."""
    classes = {"letter": r"\p{L}", "number": r"\p{N}", "white": r"\s"}
    removers = {name: pre_tokenizers.Split(Regex(of), "removed").pre_tokenize_str for name, of in classes.items()}
    compose = normalizers.NFC().normalize_str

    def differs(code: int, flags: set[str]) -> bool:
        character = chr(code)
        return any((not remove(character)) != (name in flags) for name, remove in removers.items()) or (
            "composes" not in flags and compose(character) != character
        )

    return differs


def all_flags() -> list[int]:
    """The bits of each code point; those of surrogates are 0."""
    second, bert, byte_level = second_characters(), bert_differs(), byte_level_differs()
    found = [0] * 0x110000
    for code in code_points():
        flags = read_character(code, second)
        unassigned = unicodedata.category(chr(code)) == "Cn"
        found[code] = sum(BITS[name] for name in flags)
        found[code] |= BITS["bert_unknown"] * (unassigned or bert(code, flags))
        found[code] |= BITS["byte_level_unknown"] * (unassigned or byte_level(code, flags))
    return found


def runs(values: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Where each run of one value begins, and the value."""
    place = 0
    for value, group in itertools.groupby(values):
        yield place, value
        place += len(list(group))


def table(name: str, kind: str, entries: Iterable[str]) -> str:
    """An array, with lines of some 110 characters."""
    lines, line = [], ""
    for entry in entries:
        if len(line) + len(entry) > 110:
            lines.append(line)
            line = ""
        line += f"{entry},"
    return f"const {kind} {name}[] = {{\n" + "\n".join([*lines, line]) + "\n};\n"


def mapping(name: str, flags: list[int], bit: str, change: Callable[[str], str]) -> str:
    """What characters with a bit become, at most three."""
    changed = {code: [ord(part) for part in change(chr(code))] for code in code_points() if flags[code] & BITS[bit]}
    assert max(map(len, changed.values())) <= 3
    entries = (f"{{{code},{{{','.join(map(str, parts))}}}}}" for code, parts in changed.items())
    return table(name, "Change", entries) + f"const size_t {name}_count = {len(changed)};\n"


def main() -> None:
    """Print the source."""
    flags = all_flags()
    kinds = sorted(set(flags))
    found = list(runs(kinds.index(bits) for bits in flags))
    print("// What characters are: made by scripts/unicode_tables.py, by Unicode", unicodedata.unidata_version + ".")
    print('#include "unicode.h"\n\nnamespace unicode {\n')
    print("// The flags of each kind of character.")
    print(table("kinds", "uint16_t", map(str, kinds)))
    print("// Where a run of characters of one kind begins, and its kind.")
    print(
        table("runs", "Run", (f"{{{place},{kind}}}" for place, kind in found))
        + f"const size_t run_count = {len(found)};\n"
    )
    print(mapping("without_accents", flags, "stripped", stripped))
    print(mapping("in_lower_case", flags, "lowered", str.lower))
    print("}  // namespace unicode")


if __name__ == "__main__":
    main()
