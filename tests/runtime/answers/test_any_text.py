"""Any Unicode text is answered, or refused in words; what is answered can be written as JSON and lies in the text."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_entities import BIO
from test_entities import tagging_model as tagger
from test_found_answers import answering_model as answerer
from torch_sessions import make_model

from edgelm.errors import DataError
from edgelm.tasks.text import QuestionAnswering, TokenClassification

texts = st.text(max_size=60) | st.lists(st.sampled_from(["film", "the", "x-y", "\u0301", "电影", "🎬"])).map(" ".join)


@pytest.fixture(scope="module", params=["bert", "roberta"])
def family(request):
    return request.param


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts, words=st.lists(texts, min_size=1, max_size=6))
def test_entities_lie_in_any_text(family, text, words):
    bundle = _make(family, TokenClassification(BIO))
    answer = bundle(text)
    for entity in json.loads(json.dumps(answer))["entities"]:
        assert 0 <= entity["start"] <= entity["end"] <= len(text)
    answer = bundle(tuple(words))
    assert len(answer["tags"]) == len(words)
    for entity in answer["entities"]:
        assert entity["text"] == " ".join(words[slice(*entity["words"])])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=texts, text=texts)
def test_answers_lie_in_any_text_or_it_is_refused(family, question, text):
    bundle = _make(family, QuestionAnswering(stride=4, null_answers=True))
    try:
        answer = bundle((question, text))
    except DataError as refused:
        assert refused.hint
        return
    assert json.loads(json.dumps(answer)) == answer
    for entry in answer["best"]:
        assert entry["answer"] == text[entry["start"] : entry["end"]]


_MADE: dict = {}


def _make(family, task):
    if (family, task) not in _MADE:
        model = tagger(family) if isinstance(task, TokenClassification) else answerer(family)
        _MADE[family, task] = make_model(*model, task, max_length=32)
    return _MADE[family, task]
