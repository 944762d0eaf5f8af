"""SQuAD's own JSON: articles of paragraphs of questions, as flat rows."""

from __future__ import annotations

from typing import Any

from edgelm.errors import DataError


def flatten_articles(articles: list[Any], source: str) -> list[dict[str, Any]]:
    """One row a question: id, title, context, question, and answers as the file has them; none for a question that is
    marked impossible, whose plausible answers are left out.

    Raises:
        DataError: an article, paragraph or question of another form.
    """
    rows: list[dict[str, Any]] = []
    for article in articles:
        for paragraph in _list(article, "paragraphs", source):
            for question in _list(paragraph, "qas", source):
                if not isinstance(question, dict) or "context" not in paragraph:
                    raise DataError(
                        f"{source}: not SQuAD's form: a question of {article.get('title', 'an article')!r:.60}.",
                        hint="Give rows of question, context and answers as JSON lines.",
                    )
                row = {"id": question.get("id"), "title": article.get("title"), "context": paragraph["context"]}
                row["question"] = question.get("question")
                if question.get("is_impossible"):
                    row["answers"] = []
                elif "answers" in question:
                    row["answers"] = question["answers"]
                rows.append(row)
    return rows


def _list(values: Any, name: str, source: str) -> list[Any]:
    found = values.get(name) if isinstance(values, dict) else None
    if not isinstance(found, list):
        raise DataError(
            f"{source}: not SQuAD's form: {name} is no list in {values!r:.60}.",
            hint='It has {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}.',
        )
    return found
