"""Answers in one line each, for people."""

from __future__ import annotations

from typing import Any


def say(answer: dict[str, Any], top: int) -> str:
    """An answer of any task.

    Args:
        top: how many labels, answers, endings or tokens, where the answer has more than the best.
    """
    if "embedding" in answer:
        return " ".join(f"{value:.5f}" for value in answer["embedding"])
    if "entities" in answer:
        found = (f"{entity['text']} ({entity['entity']} {entity['score']:.3f})" for entity in answer["entities"])
        return "  ".join(found) or "(none)"
    if "masks" in answer:
        named = ([f"{entry['token']} {entry['score']:.3f}" for entry in mask["tokens"]] for mask in answer["masks"])
        return " | ".join("  ".join(tokens[:top]) for tokens in named)
    if "best" in answer:
        return "  ".join(f"{entry['answer'] or '(no answer)'} {entry['score']:.3f}" for entry in answer["best"][:top])
    if "choice" in answer:
        return _say_choices(answer, top)
    if "scores" not in answer:
        return f"{answer['score']:.4f}"
    return _say_labels(answer, top)


def say_ranked(line: dict[str, Any]) -> str:
    """A text that was ranked."""
    return f"{line['score']:.4f}  {line['text']}"


def _say_choices(answer: dict[str, Any], top: int) -> str:
    _, endings = answer["text"]
    best = sorted(zip(endings, answer["scores"], strict=True), key=lambda item: -item[1])
    return "  ".join(f"{ending} {score:.3f}" for ending, score in best[:top])


def _say_labels(answer: dict[str, Any], top: int) -> str:
    if "label" not in answer and "labels" not in answer:  # values, of which none is better than another
        return "  ".join(f"{label} {value:.4f}" for label, value in answer["scores"].items())
    best = sorted(answer["scores"].items(), key=lambda item: -item[1])
    if "labels" in answer:
        return (
            ", ".join(f"{label} {answer['scores'][label]:.3f}" for label in answer["labels"])
            or f"(none; {best[0][0]} {best[0][1]:.3f})"
        )
    return "  ".join(f"{label} {score:.3f}" for label, score in best[:top])
