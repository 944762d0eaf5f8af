"""F1 of whole spans: a span counts where its type, its first word and its last are all right.

Three schemes write spans as a tag a word. BIO: `B-` begins a span, `I-` goes on. IOB1 (CoNLL-2003 as published): `I-`
begins a span too, and `B-` only parts two neighbours. BIOES, or BILOU in other letters: a span of several words ends
with `E-` (`L-`), one of a single word is `S-` (`U-`). A tag without such a letter, such as `PER`, reads as `I-PER`.

BIO and BIOES are read strictly, as seqeval's mode "strict" does: tags that their scheme does not allow are no span.
IOB1 is read as conlleval does: `B-` always begins a span, `I-` where no span of its type goes before.

Source: Tjong Kim Sang, De Meulder 2003, Introduction to the CoNLL-2003 shared task (arXiv:cs/0306050); Ratinov, Roth
2009 for BILOU.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Scheme = Literal["BIO", "IOB1", "BIOES"]
Span = tuple[str, int, int]

_TAG = re.compile(r"([BIESLU])(?:-(.*))?", re.DOTALL)
_SAME = {"L": "E", "U": "S"}  # BILOU's letters as BIOES has them


@dataclass(frozen=True)
class SpanCounts:
    """How many spans are right.

    Attributes:
        correct: spans that are predicted and true.
        predicted: spans that are predicted.
        true: spans that are true.
    """

    correct: int = 0
    predicted: int = 0
    true: int = 0

    @property
    def precision(self) -> float:
        """Share of the predicted spans that are right, 0 to 1; 0 where none is predicted."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the true spans that are found, 0 to 1; 0 where there are none."""
        return self.correct / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0 to 1; 0 where there are no spans at all."""
        return 2 * self.correct / (self.predicted + self.true) if self.predicted + self.true else 0.0


def split_tag(tag: str) -> tuple[str, str]:
    """The letter of a tag (O, B, I, E or S) and its type: `B-PER` is ("B", "PER"), `L-PER` ("E", "PER"), `PER` ("I",
    "PER"), `B` ("B", "")."""
    if tag == "O":
        return "O", ""
    found = _TAG.fullmatch(tag)
    if found is None:
        return "I", tag
    return _SAME.get(found[1], found[1]), found[2] or ""


def scheme_of(sequences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme of true tags: BIOES where an E, S, L or U is used, IOB1 where an `I-` begins a span, else BIO."""
    loose = False
    for tags in sequences:
        if any(split_tag(tag)[0] in "ES" for tag in tags):
            return "BIOES"
        loose = loose or bool(loose_starts(tags))
    return "IOB1" if loose else "BIO"


def loose_starts(tags: Sequence[str]) -> list[int]:
    """The words whose `I-` has no `B-` or `I-` of its type right before it."""
    parts = [("O", ""), *map(split_tag, tags)]
    return [
        word
        for word, ((before, last), (letter, kind)) in enumerate(pairwise(parts))
        if letter == "I" and (before not in "BI" or last != kind)
    ]


def spans_of(tags: Sequence[str], *, scheme: Scheme | None = None) -> list[Span]:
    """The spans that the tags of a text write, in order.

    Args:
        tags: one a word.
        scheme: how they are read; None: as `scheme_of` tells from these tags alone, which takes an `I-` without a `B-`
            for IOB1.

    Returns:
        (type, first word, end word) a span; the end word is the first one behind it.
    """
    scheme = scheme or scheme_of([tags])
    spans: list[Span] = []
    ends = scheme == "BIOES"  # a span is one only where its end is marked
    start, kind = None, ""  # the span that is being read
    for word, (letter, name) in enumerate([*map(split_tag, tags), ("O", "")]):
        if start is not None and (name != kind or letter not in ("IE" if ends else "I")):
            if not ends:
                spans.append((kind, start, word))
            start = None
        if ends and letter == "S":
            spans.append((name, word, word + 1))
        elif letter == "B" or (letter == "I" and start is None and scheme == "IOB1"):
            start, kind = word, name
        elif ends and letter == "E" and start is not None:
            spans.append((kind, start, word + 1))
            start = None
    return spans


def count_spans(
    truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, scheme: Scheme | None = None
) -> dict[str, SpanCounts]:
    """Counts of right, predicted and true spans by type, in the order of the types' names.

    Args:
        truth: per text the true tags, one a word.
        predicted: per text as many predicted tags.
        scheme: how both are read; None: told from the true tags by `scheme_of`.

    Raises:
        ValueError: a text has more or fewer predicted tags than true ones.
    """
    scheme = scheme or scheme_of(truth)
    correct: Counter[str] = Counter()
    said: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for row, (tags, others) in enumerate(zip(truth, predicted, strict=True)):
        if len(tags) != len(others):
            raise ValueError(f"text {row} has {len(tags)} true tags and {len(others)} predicted ones")
        right, found = set(spans_of(tags, scheme=scheme)), set(spans_of(others, scheme=scheme))
        correct.update(kind for kind, _, _ in right & found)
        said.update(kind for kind, _, _ in found)
        known.update(kind for kind, _, _ in right)
    return {kind: SpanCounts(correct[kind], said[kind], known[kind]) for kind in sorted(said | known)}


def span_scores(
    truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, scheme: Scheme | None = None
) -> dict[str, float]:
    """Precision, recall and `span_f1` over the spans of all types together, each 0 to 1.

    Args:
        truth: per text the true tags, one a word.
        predicted: per text as many predicted tags.
        scheme: how both are read; None: told from the true tags by `scheme_of`.

    Raises:
        ValueError: a text has more or fewer predicted tags than true ones.
    """
    counts = count_spans(truth, predicted, scheme=scheme).values()
    total = SpanCounts(
        sum(count.correct for count in counts),
        sum(count.predicted for count in counts),
        sum(count.true for count in counts),
    )
    return {"span_f1": total.f1, "precision": total.precision, "recall": total.recall}
