"""Texts that a model wrote against references: BLEU and chrF of translations, ROUGE of summaries."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from edgelm.errors import MissingExtraError, install_extra
from edgelm.tasks.task import Task


def judge_texts(task: Task, texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Metrics by name; `task.metric` is always among them.

    Args:
        texts: what was written, one a row.
        references: the right texts of each row, one or several.

    Raises:
        MissingExtraError: the library that computes them is not installed.
    """
    return translation_scores(texts, references) if task.metric == "bleu" else summary_scores(texts, references)


def translation_scores(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015) of all texts together, as sacreBLEU has them (Post 2018,
    arXiv:1804.08771): between 0 and 100, with its tokenization 13a."""
    sacrebleu = _library("sacrebleu")
    most = max(map(len, references), default=0)
    columns = [[row[number] if number < len(row) else None for row in references] for number in range(most)]
    return {
        "bleu": float(sacrebleu.corpus_bleu(list(texts), columns).score),
        "chrf": float(sacrebleu.corpus_chrf(list(texts), columns).score),
    }


def summary_scores(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """F1 of words, of pairs of words and of the longest common subsequence (ROUGE, Lin 2004), with stems as the usual
    script has them: the mean over texts, each held against the reference that it is nearest to."""
    library = _library("rouge_score.rouge_scorer")
    names = ("rougeL", "rouge1", "rouge2")
    scorer = library.RougeScorer(list(names), use_stemmer=True)
    found = [scorer.score_multi(list(row), text) for text, row in zip(texts, references, strict=True)]
    return {name: sum(float(scores[name].fmeasure) for scores in found) / max(len(found), 1) for name in names}


def _library(name: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0].replace("_", "-")
        raise MissingExtraError(
            f"the package {package} is missing; it judges translations or summaries.",
            hint=install_extra("generate"),
        ) from error
