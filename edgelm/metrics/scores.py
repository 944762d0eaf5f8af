"""How good outputs are: against labels, and against the outputs of another model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding


def score(task: Task, outputs: np.ndarray, labels: Sequence[Any]) -> dict[str, float]:
    """Metrics of a task, by name; `task.metric` is always among them.

    Args:
        outputs: (rows, labels) logits; (rows,) or (rows, 1) values for regression; (rows,) cosine similarities for
            sentence embeddings.
        labels: per row a class index, a tuple of 0/1, or a float.

    Returns:
        shares between 0 and 1, correlations between -1 and 1. A correlation of constant values counts as 0.
    """
    from sklearn.metrics import accuracy_score, f1_score

    truth = np.asarray(labels)
    if task.metric == "spearman":
        return correlations(outputs.reshape(len(outputs)), truth.astype(np.float64))
    if task.output == "binary":
        predicted = (outputs > 0).astype(int)
        return {
            "micro_f1": float(f1_score(truth, predicted, average="micro", zero_division=0)),
            "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
            "exact_match": float(accuracy_score(truth, predicted)),
        }
    predicted = outputs.argmax(axis=1)
    result = {
        "accuracy": float(accuracy_score(truth, predicted)),
        "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
    }
    if outputs.shape[1] == 2:
        result["f1"] = float(f1_score(truth, predicted, zero_division=0))
    return result


def correlations(values: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Spearman and Pearson correlation of two series."""
    from scipy.stats import pearsonr, spearmanr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            "spearman": float(spearmanr(values, truth).statistic),
            "pearson": float(pearsonr(values, truth).statistic),
        }
    return {name: 0.0 if np.isnan(value) else value for name, value in found.items()}


def agreement(task: Task, outputs: np.ndarray, reference: np.ndarray) -> float:
    """How often (or how closely) outputs agree with those of another model, 1 for always.

    The share of equal answers for classes; the mean cosine for embeddings, or linear CKA where they differ in width;
    the Spearman correlation for regression.
    """
    if isinstance(task, SentenceEmbedding) and outputs.shape[1] != reference.shape[1]:
        return alignment(outputs, reference)
    if isinstance(task, SentenceEmbedding):
        norms = np.linalg.norm(outputs, axis=1) * np.linalg.norm(reference, axis=1)
        return float(((outputs * reference).sum(axis=1) / np.maximum(norms, 1e-12)).mean())
    if task.output == "values":
        return correlations(outputs.reshape(-1), reference.reshape(-1))["spearman"]
    if task.output == "binary":
        return float(((outputs > 0) == (reference > 0)).mean())
    return float((outputs.argmax(axis=1) == reference.argmax(axis=1)).mean())


def alignment(first: np.ndarray, second: np.ndarray) -> float:
    """Linear CKA of two sets of vectors for the same rows: 1 if one is a rotation of the other, whatever the widths.

    Source: Kornblith et al. 2019 (arXiv:1905.00414), eq. 7.
    """
    one, other = (vectors.astype(np.float64) - vectors.mean(axis=0) for vectors in (first, second))
    norms = np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)
    return float(np.square(np.linalg.norm(other.T @ one)) / max(norms, 1e-24))


def pair_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine similarity of two sets of sentence vectors, row by row."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / np.maximum(norms, 1e-12)
