"""What was written is judged as sacreBLEU's and rouge-score's own commands judge it."""

import pytest

from edgelm.metrics.texts import judge_texts
from edgelm.tasks.generation import Summarization, Translation

WRITTEN = ("the cat sat on the mat", "a dog runs fast", "it rains")
REFERENCES = (("the cat is on the mat", "there is a cat on the mat"), ("a dog is running fast",), ("it is raining",))


def test_translations_have_sacrebleus_scores():
    import sacrebleu

    found = judge_texts(Translation(), WRITTEN, REFERENCES)
    first, second = [row[0] for row in REFERENCES], [row[1] if len(row) > 1 else None for row in REFERENCES]
    assert found == {
        "bleu": sacrebleu.corpus_bleu(list(WRITTEN), [first, second]).score,
        "chrf": sacrebleu.corpus_chrf(list(WRITTEN), [first, second]).score,
    }
    alone = judge_texts(Translation(), WRITTEN, [row[:1] for row in REFERENCES])
    assert alone["bleu"] == sacrebleu.corpus_bleu(list(WRITTEN), [first]).score
    assert judge_texts(Translation(), WRITTEN, [(text,) for text in WRITTEN])["bleu"] == pytest.approx(100.0)


def test_summaries_are_held_against_the_nearest_reference():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    best = [
        max(scorer.score(reference, text)["rougeL"].fmeasure for reference in row)
        for text, row in zip(WRITTEN, REFERENCES, strict=True)
    ]
    found = judge_texts(Summarization(), WRITTEN, REFERENCES)
    assert found["rougeL"] == pytest.approx(sum(best) / 3)
    assert found.keys() == {"rougeL", "rouge1", "rouge2"}
