"""F1 of spans: what each scheme allows, against every possible span tried one by one, and published examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelm.metrics.spans import count_spans, loose_starts, scheme_of, span_scores, spans_of


def every_span(tags, scheme):
    """All (type, first, end) for which the words of the scheme's definition hold, tried one by one."""
    found = []
    for first in range(len(tags)):
        for end in range(first + 1, len(tags) + 1):
            for kind in ("X", "Y"):
                inside, after = tags[first:end], tags[end] if end < len(tags) else "O"
                before = tags[first - 1] if first else "O"
                rest = all(tag == f"I-{kind}" for tag in inside[1:])
                if scheme == "BIO":
                    is_span = inside[0] == f"B-{kind}" and rest and after != f"I-{kind}"
                elif scheme == "IOB1":
                    begins = inside[0] == f"B-{kind}" or (inside[0] == f"I-{kind}" and before[2:] != kind)
                    is_span = begins and rest and after != f"I-{kind}"
                else:
                    several = [f"B-{kind}", *[f"I-{kind}"] * (len(inside) - 2), f"E-{kind}"]
                    is_span = inside == ([f"S-{kind}"] if len(inside) == 1 else several)
                if is_span:
                    found.append((kind, first, end))
    return found


def tags_of(letters):
    return st.lists(st.sampled_from(["O", *(f"{letter}-{kind}" for letter in letters for kind in "XY")]), max_size=9)


@given(tags_of("BI"))
def test_spans_of_bio_and_iob1_are_all_that_their_definitions_allow(tags):
    assert spans_of(tags, scheme="BIO") == every_span(tags, "BIO")
    assert spans_of(tags, scheme="IOB1") == every_span(tags, "IOB1")


@given(tags_of("BIES"))
def test_spans_of_bioes_are_all_that_its_definition_allows(tags):
    assert spans_of(tags, scheme="BIOES") == every_span(tags, "BIOES")
    other = [tag.replace("E-", "L-").replace("S-", "U-") for tag in tags]
    assert spans_of(other, scheme="BIOES") == spans_of(tags, scheme="BIOES")


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        # CoNLL-2003's own example (IOB1): U.N. official Ekeus heads for Baghdad .
        ("I-ORG O I-PER O O I-LOC O", [("ORG", 0, 1), ("PER", 2, 3), ("LOC", 5, 6)]),
        ("I-PER B-PER I-PER O", [("PER", 0, 1), ("PER", 1, 3)]),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),  # seqeval's docstring
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("S-LOC O B-PER I-PER E-PER", [("LOC", 0, 1), ("PER", 2, 5)]),
        ("U-LOC O B-PER L-PER", [("LOC", 0, 1), ("PER", 2, 4)]),
        ("B-creative-work I-creative-work", [("creative-work", 0, 2)]),
        ("PER PER O LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B I O B", [("", 0, 2), ("", 3, 4)]),
        ("", []),
    ],
)
def test_spans_are_read_as_their_tags_mean_them(tags, spans):
    assert spans_of(tags.split()) == spans


def test_the_scheme_is_told_from_all_texts_together():
    assert scheme_of([["O"], ["B-X", "I-X"]]) == "BIO"
    assert scheme_of([["B-X", "I-X"], ["O", "I-X"]]) == "IOB1"
    assert scheme_of([["I-X"], ["S-X"]]) == "BIOES"
    assert loose_starts(["I-X", "I-X", "O", "I-X", "B-X", "I-Y"]) == [0, 3, 5]


def test_scores_are_those_of_the_example_that_seqeval_publishes():
    truth = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    predicted = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    assert span_scores(truth, predicted) == {"span_f1": 0.5, "precision": 0.5, "recall": 0.5}
    counts = count_spans(truth, predicted)
    assert {kind: (count.precision, count.recall, count.f1) for kind, count in counts.items()} == {
        "MISC": (0, 0, 0),
        "PER": (1, 1, 1),
    }


def test_a_span_that_its_scheme_does_not_allow_is_none():
    """seqeval's own example of how its modes differ: right by default, and no span in mode "strict"."""
    truth, predicted = [["B-NP", "I-NP", "O"]], [["I-NP", "I-NP", "O"]]
    assert span_scores(truth, predicted)["span_f1"] == 0
    assert span_scores(truth, predicted, scheme="IOB1")["span_f1"] == 1


def test_counts_are_by_type_and_unlike_lengths_are_refused():
    counts = count_spans([["B-A", "B-B", "O", "B-A"]], [["O", "B-B", "B-C", "B-A"]])
    found = {kind: (count.correct, count.predicted, count.true) for kind, count in counts.items()}
    assert found == {"A": (1, 1, 2), "B": (1, 1, 1), "C": (0, 1, 0)}
    assert span_scores([["O"]], [["O"]]) == {"span_f1": 0, "precision": 0, "recall": 0}
    with pytest.raises(ValueError, match="text 0 has 2 true tags and 1"):
        count_spans([["O", "O"]], [["O"]])
