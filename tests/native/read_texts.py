"""Tokenizers of the kinds that edgelm-native reads, texts that are hard for them, and what the tokenizers library makes
of those."""

from __future__ import annotations

import random
import string
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from edgelm.bundles.native_tokenizer import compile_tokenizer
from edgelm.runtime.inputs.pairs import cut_pair
from edgelm.runtime.preprocessing import TextProcessing

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("turn", "the", "light", "on", "un", "##s", "##ing", "##believ", "##able", "café", "cafe", "漢", "ห")
# Each is a case of its own: marks, contractions, spaces of all kinds, joined emoji, Hangul, letters whose lower case is
# longer, final sigma, ligatures, fullwidth, directions, a byte order mark, accents in the wrong order, long words.
HARD = (
    *("", " ", "  ", "\n", "\t\r\n", "\0", "\u0085", "\u2028", "\u3000", "\ufeff", "\u00ad", "\ufffd", "\u200b"),
    *("[CLS]", " [MASK] ", "[SEP][SEP]", "[MASK", "[[MASK]]", "<mask>", "  <mask>", "<s>", "extra", "extra  word"),
    *("it's", "we'LL", "'re", "''ve", "he'd've", " 's", "a  b", "a \n b", "a\n\n", "  a", "1 000,5", "x2y", "$5.00!?"),
    *("👩\u200d👩\u200d👧", "🇫🇷", "❤\ufe0f", "가각힣", "\u1100\u1161\u11a8", "漢字かな", "\ufa0e\uf900"),
    *("İıI", "ßẞ", "ΣΑΣ", "ﬁﬃ", "Ａ１", "café cafe\u0301", "a\u0323\u0301 a\u0301\u0323", "สวัสดี"),
    *("\u0645\u0631\u062d\u0628\u0627 \u202babc\u202c", "a\u0345\u0301", "\u212b\u2126", "\u0958", "\u1fee"),
    *("x" * 100, "x" * 101, "é" * 100, "é" * 101, "un" * 300),
)


def bert(**settings: Any) -> Tokenizer:
    """WordPiece, as BERT has it; settings of its normalizer."""
    letters = string.ascii_letters + string.digits + string.punctuation + "\u00e9\u00df\u03c3\u1100\u1161"
    tokens = dict.fromkeys([*MARKS, *WORDS, *letters, *(f"##{letter}" for letter in letters)])
    made = Tokenizer(models.WordPiece({token: number for number, token in enumerate(tokens)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(**settings)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    return made


def roberta(*, space: bool = False, ignore_merges: bool = False) -> Tokenizer:
    """Byte pair encoding of bytes, as RoBERTa has it, with merges over spaces, numbers and signs, so that what stands
    in one word shows."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    chosen = random.Random(0)
    merges = [("t", "h"), ("th", "e"), ("h", "e"), ("\u0120", "the"), ("e", "r"), ("he", "r"), ("'", "s"), ("i", "n")]
    merges += [("\u0120", "\u0120"), ("\u0120\u0120", "\u0120"), ("\u0120", "\u0120\u0120")]  # two ways to one token
    merges += [(a, b) for a in "a1!\u0120\u010a'" for b in chosen.sample(alphabet, 60) if (a, b) not in merges]
    tokens = dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", *alphabet, *(a + b for a, b in merges), "\u0120other"])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=ignore_merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    specials = [AddedToken(mark, special=True, normalized=True) for mark in ("<s>", "<pad>", "</s>", "<unk>")]
    made.add_special_tokens([*specials, AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    return made


def modernbert() -> Tokenizer:
    """As ModernBERT has it: NFC before it, other marks, and tokens that take the spaces behind them."""
    made = roberta()
    made.normalizer = normalizers.NFC()
    made.post_processor = processors.Sequence(
        [
            processors.ByteLevel(),
            processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B:1 </s>:1", [("<s>", 0), ("</s>", 2)]),
        ]
    )
    made.add_tokens([AddedToken("extra", rstrip=True), AddedToken("extra word", normalized=False)])
    return made


def with_added() -> Tokenizer:
    """BERT with words of its own, found in the normalized text."""
    made = bert()
    made.add_tokens(["Extra W\u00f6rd", "extra", AddedToken("MIX", lstrip=True, rstrip=True)])
    made.post_processor = None
    return made


KINDS = {
    "bert": bert,
    "bert cased": lambda: bert(lowercase=False),
    "bert with accents": lambda: bert(strip_accents=False),
    "bert as it is": lambda: bert(clean_text=False, handle_chinese_chars=False, lowercase=False),
    "bert with words": with_added,
    "roberta": roberta,
    "roberta with a space": lambda: roberta(space=True),
    "roberta without merges": lambda: roberta(ignore_merges=True),
    "modernbert": modernbert,
}


def settings_of(**changes: Any) -> TextProcessing:
    """How a bundle cuts and pads: not at all, unless it is said."""
    return TextProcessing(**({"max_length": 4096, "pad_id": 0, "pad_token": "[PAD]"} | changes))


def library_ids(tokenizer: Tokenizer, settings: TextProcessing, text: str, pair: str | None = None) -> list[list[int]]:
    """Ids and types as the runtime has them of the tokenizers library."""
    tokenizer.encode_special_tokens = settings.split_special
    if pair is None:
        tokenizer.enable_truncation(settings.max_length, direction=settings.truncation_side)
        found: Any = tokenizer.encode(text)
    else:
        tokenizer.no_truncation()
        left = settings.truncation_side == "left"
        found = cut_pair(tokenizer.encode(text, pair), longest=settings.max_length, from_left=not left)
    return [list(found.ids), list(found.type_ids)]


def make_both(native: Any, kind: str, **changes: Any) -> tuple[Any, Tokenizer, TextProcessing]:
    """A tokenizer of edgelm-native, the one of the tokenizers library that it was made of, and their settings."""
    tokenizer, settings = KINDS[kind](), settings_of(**changes)
    return native.Tokenizer(compile_tokenizer(tokenizer, settings)), tokenizer, settings


def random_texts(count: int, *, seed: int) -> Iterator[str]:
    """Of hard parts, of words, and of characters of one script each, all of them assigned."""
    made = random.Random(seed)
    blocks = _blocks()
    for _ in range(count):
        parts: list[str] = []
        for _ in range(made.randint(1, 8)):
            parts += made.choice(
                (
                    [made.choice(HARD)],
                    [made.choice(WORDS).lstrip("#"), " "],
                    made.choices(made.choice(blocks), k=made.randint(1, 6)),
                    [chr(made.randrange(0x20, 0x250))],
                )
            )
        yield "".join(parts)


def _blocks(size: int = 128) -> list[Sequence[str]]:
    """Characters that stand side by side, where most are assigned, without those of private use."""
    found = []
    for begin in range(0, 0x32000, size):
        block = [chr(code) for code in range(begin, begin + size)]
        block = [each for each in block if unicodedata.category(each) not in ("Cn", "Co", "Cs")]
        if len(block) > size // 2:
            found.append(block)
    return found
