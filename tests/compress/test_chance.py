"""Whether a model does better than an answer that never changes: by hand-made counts, and said by the commands that
train."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TEXTS, make_checkpoint
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.compress.chance import best_constant, judge_chance
from edgelm.tasks.text import TextClassification

THREE = TextClassification(labels=("a", "b", "c"))
TAGS = TextClassification(problem="multi-label", labels=("a", "b", "c"))
SCORE = TextClassification(problem="regression", labels=("score",))


def test_of_classes_it_is_the_most_frequent_one():
    """As scikit-learn's DummyClassifier has it."""
    labels = [0, 2, 2, 1, 2, 2, 0]
    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((7, 1)), labels)
    assert best_constant(THREE, labels) == (pytest.approx(dummy.score(np.zeros((7, 1)), labels)), ("c",))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=1, max_size=20))
def test_of_several_labels_no_other_constant_answer_is_better(rows):
    """All seven, scored by scikit-learn."""
    answers = [answer for answer in itertools.product((0, 1), repeat=3) if any(answer)]
    best = max(f1_score(rows, [answer] * len(rows), average="micro", zero_division=0) for answer in answers)
    level, names = best_constant(TAGS, rows)
    assert level == pytest.approx(best)
    own = [int(name in names) for name in TAGS.labels]
    assert level == pytest.approx(f1_score(rows, [own] * len(rows), average="micro", zero_division=0))


def test_what_luck_gives_is_no_knowledge():
    """Of 100 rows, half of each class: 0.5 + 1.645 * 0.05 is reached by one model in twenty that knows nothing."""
    task, labels = TextClassification(labels=("no", "yes")), [0, 1] * 50
    verdicts = {score: judge_chance(task, {"accuracy": score}, labels) for score in (0.4, 0.5, 0.57, 0.6)}
    assert [verdict.better for verdict in verdicts.values()] == [False, False, False, True]
    assert (
        "accuracy 0.5000 on the 100 evaluation rows is no better than chance: always answering 'no' gives 0.5000."
        in verdicts[0.5].finding
    )
    assert "no clearly better" in verdicts[0.57].finding
    assert "up to 0.582" in verdicts[0.57].finding


def test_a_correlation_is_judged_by_how_many_rows_there_are():
    values = list(np.linspace(0, 1, 26))
    assert not judge_chance(SCORE, {"spearman": 0.3}, values).better  # 1.645 / 5
    assert judge_chance(SCORE, {"spearman": 0.34}, values).better
    assert not judge_chance(SCORE, {"spearman": -0.9}, values).better


def test_all_right_is_better_however_few_rows_there_are():
    assert judge_chance(THREE, {"accuracy": 1.0}, [0, 1]).better
    assert not judge_chance(THREE, {"accuracy": 1.0}, [1, 1]).better  # rows of one class say nothing


def test_without_labels_there_is_nothing_to_judge():
    assert judge_chance(THREE, {"agreement": 1.0}, None) is None
    assert judge_chance(THREE, {"agreement": 1.0}, [0, 1]) is None


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Rows in which every text has both labels equally often, and rows whose text tells the label."""
    folder = tmp_path_factory.mktemp("chance")
    make_checkpoint(folder / "m")
    rows = {
        "noise": [{"text": text, "label": label} for text in TEXTS for label in "xy" for _ in range(3)],
        "told": [
            {"text": text, "label": label} for text, label in (("turn on", "x"), ("play music", "y")) for _ in range(24)
        ],
    }
    for name, entries in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in entries))
    return folder


def train(command, model, files, rows, *more):
    data = files / f"{rows}.jsonl"
    words = [command, files / model, "--data", data, "--eval", data, "--overwrite", *more]
    return CliRunner().invoke(app, [str(word) for word in words])


def test_finetune_says_that_it_learnt_nothing_and_ends_well(files):
    """Each text has both labels equally often: nothing is right more often than half of the time."""
    shown = train("finetune", "m", files, "noise", "--allow-new-head", "--max-steps", 4, "--output", files / "blind")
    assert shown.exit_code == 0, shown.output
    assert (
        "Warning: accuracy 0.5000 on the 48 evaluation rows is no better than chance: always answering 'x' gives "
        "0.5000." in shown.output
    )
    assert all(word in shown.output for word in ("--text-column", "--label-column", "--learning-rate"))


def test_finetune_says_nothing_of_chance_where_it_learnt(files):
    more = ["--allow-new-head", "--max-steps", 30, "--lr", 1e-2, "--output", files / "knows", "--json"]
    shown = train("finetune", "m", files, "told", *more)
    assert shown.exit_code == 0, shown.output
    chance = json.loads(shown.stdout)["chance"]
    assert (chance["score"], chance["level"], chance["better"]) == (1.0, 0.5, True)
    assert "no better than chance" not in shown.stderr


def test_compress_says_so_too(files):
    """Nothing to learn from: the original of the fixture knows as little, and that is said."""
    train("finetune", "m", files, "noise", "--allow-new-head", "--max-steps", 2, "--output", files / "teacher")
    more = ["--recipe", "one-shot", "--max-size", "10MB", "--precision", "fp32", "--output", files / "small", "--json"]
    shown = train("compress", "teacher", files, "noise", *more)
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["chance"]["better"] is False
    assert "no better than chance" in shown.stderr
    assert "The original has 0.5000: check the columns" in shown.stderr
