"""What is measured on, for every kind of task: the samples of a bundle itself, with all their sequences."""

import json

import pytest
from bundles import make_bundle
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.errors import DataError
from edgelm.profile.inputs import find_texts, make_feeds
from edgelm.profile.subject import find_subject
from edgelm.tasks.text import MultipleChoice, QuestionAnswering, TokenClassification

TAGS = TokenClassification(labels=("O", "B-A"))


@pytest.mark.parametrize(
    ("task", "samples", "rows"),
    [
        (TAGS, ["a good film", "the very bad film"], 2),
        (QuestionAnswering(stride=4), [("a good film", "the very bad film"), ("film", "a bad bad film")], 2),
        (MultipleChoice(), [("a good film", ("the film", "very bad")), ("film", ("good", "bad", "a film"))], 5),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_golden_samples_become_inputs_with_all_their_sequences(tmp_path, task, samples, rows):
    subject = find_subject(make_bundle(tmp_path / "b", task))
    found = find_texts([subject], None)
    assert found == samples
    own, stretched = make_feeds([subject], found, [(2, None), (2, 16)])[0]
    assert len(own[0]["input_ids"]) == rows
    assert [len(row) for row in stretched[0]["input_ids"]] == [16, 16]


@pytest.mark.parametrize(
    ("task", "sample", "words"),
    [
        (QuestionAnswering(), "a text", "a question and a text that answers it"),
        (MultipleChoice(), ("a", "b"), "at least two endings"),
        (TAGS, ("a", ("b", "c")), "a text or a tuple of words"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_samples_of_another_task_are_refused(tmp_path, task, sample, words):
    subject = find_subject(make_bundle(tmp_path / "b", task))
    with pytest.raises(DataError, match=words):
        make_feeds([subject], [sample], [(1, None)])


def test_a_bundle_that_chooses_is_profiled_on_its_own_samples(tmp_path):
    folder = make_bundle(tmp_path / "b", MultipleChoice())
    result = CliRunner().invoke(
        app, ["profile", str(folder), "--threads", "1", "--runs", "20", "--loads", "1", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)
