"""Exact match and F1 of answers, against the rules of SQuAD's paper taken word by word, and figures by hand."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelm.metrics.squad import answer_f1, answer_scores, exact_match, normalize_answer

texts = st.lists(st.sampled_from(["the", "a", "Denver", "denver", "Broncos,", "x", "-", "né", " "]), max_size=6).map(
    " ".join
)


def words_of(text):
    kept = "".join(char for char in text if char not in string.punctuation)
    return [word for word in kept.lower().split() if word not in ("a", "an", "the")]


def shared_words(first, second):
    """How many words can be crossed out in pairs."""
    left = list(second)
    return sum(1 for word in first if word in left and left.remove(word) is None)


@given(texts, texts)
def test_a_score_is_that_of_the_words_without_articles_and_punctuation(predicted, answer):
    found, right = words_of(predicted), words_of(answer)
    assert normalize_answer(predicted) == " ".join(found)
    assert exact_match(predicted, [answer]) == (found == right)
    shared = shared_words(found, right)
    if shared:
        precision, recall = shared / len(found), shared / len(right)
        # two roundings of one fraction: 2pr / (p + r) here, 2n / (a + b) there
        assert answer_f1(predicted, [answer]) == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)
    else:
        assert answer_f1(predicted, [answer]) == (found == right)


def test_the_best_of_several_answers_counts():
    known = ("Denver Broncos", "the Broncos of Denver")
    assert exact_match("The Denver Broncos!", known) == 1
    assert answer_f1("Broncos", known) == pytest.approx(2 / 3)  # precision 1, recall 1/2
    assert exact_match("Broncos", known) == 0


def test_a_question_without_an_answer_is_right_when_nothing_is_said():
    assert (exact_match("", ()), answer_f1("", ())) == (1, 1)
    assert (exact_match("x", ()), answer_f1("x", ())) == (0, 0)
    assert (exact_match("", ("x",)), answer_f1("", ("x",))) == (0, 0)
    assert answer_f1("x", ("the", "x")) == 1  # an answer of articles alone is left out


def test_scores_are_means_over_questions():
    scores = answer_scores(["Denver", "", "x"], [("Denver Broncos", "denver"), (), ("x y z",)])
    assert scores == {"f1": pytest.approx((1 + 1 + 1 / 2) / 3), "exact_match": pytest.approx(2 / 3)}
    with pytest.raises(ValueError, match="1 predictions for 0 questions"):
        answer_scores(["x"], [])
