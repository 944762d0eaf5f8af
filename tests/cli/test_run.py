"""`edgelm run`, and a bundle's own run.py, for every kind of task."""

import json
import re
import subprocess
import sys

import pytest
from bundles import make_bundle
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.cli.main import app
from edgelm.runtime.verify import verify
from edgelm.tasks.text import MultipleChoice, QuestionAnswering, TextClassification, TokenClassification

TAGS = TokenClassification(labels=("O", "B-THING", "I-THING"))
QUESTIONS = QuestionAnswering(stride=4, max_answer_tokens=3)
PAIRS = TextClassification(labels=("no", "yes"), pair=True)
SAMPLES = {
    TAGS: "a good film",
    QUESTIONS: ("a good film", "the very bad film"),
    MultipleChoice(): ("a film", ("good", "very bad")),
    PAIRS: ("a film", "good"),
}
LINES = {
    TAGS: ["a good film", "the very bad film"],
    QUESTIONS: ["film\tthe very bad film", '{"question": "film", "context": "the very bad film", "id": 7}'],
    MultipleChoice(): ["a film\tgood\tvery bad", '{"text": "a film", "choices": ["good", "very bad"], "label": 0}'],
    PAIRS: ["a film\tgood", "film\tbad\tfilm"],
}
WORDS = {
    TAGS: ["a good film"],
    QUESTIONS: ["a good film", "--pair", "the very bad film"],
    MultipleChoice(): ["a film", "good", "very bad"],
    PAIRS: ["a film", "--pair", "good"],
}
KINDS = {task.kind + ("-pair" if task is PAIRS else ""): task for task in SAMPLES}


def run(*arguments, **options):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return {task: make_bundle(folder / name, task) for name, task in KINDS.items()}


def kept(sample):
    return json.loads(json.dumps(sample))


@pytest.mark.parametrize("task", SAMPLES, ids=KINDS)
def test_a_bundle_of_every_task_proves_itself_and_answers_in_one_line_or_as_json(bundles, task):
    folder, sample = bundles[task], SAMPLES[task]
    proof = verify(folder)
    assert proof.ok, proof
    wanted = edgelm.runtime.load(folder)(sample)
    shown = run("run", folder, *WORDS[task])
    assert shown.exit_code == 0, shown.output
    assert len(shown.stdout.splitlines()) == 1
    said = json.loads(run("run", folder, *WORDS[task], "--json").stdout)
    assert said == {"text": kept(sample)} | wanted
    shown_all = run("run", folder, *WORDS[task], "--top", "20").stdout
    assert len(shown_all) >= len(shown.stdout)


@pytest.mark.parametrize("task", SAMPLES, ids=KINDS)
def test_files_and_the_bundles_own_script_say_the_same(bundles, tmp_path, task):
    folder = bundles[task]
    (tmp_path / "texts.txt").write_text("\n".join(LINES[task]) + "\n")
    found = [
        json.loads(line) for line in run("run", folder, "--file", tmp_path / "texts.txt", "--json").stdout.splitlines()
    ]
    assert len(found) == 2
    for words in (["--file", tmp_path / "texts.txt"], LINES[task]):
        done = subprocess.run([sys.executable, folder / "run.py", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert [json.loads(line) for line in done.stdout.splitlines()] == found
    if task is QUESTIONS:
        assert found[0] == found[1]
        assert found[0]["text"] == ["film", "the very bad film"]
    if isinstance(task, MultipleChoice):
        assert found[0] == found[1]
        assert found[0]["text"] == ["a film", ["good", "very bad"]]


def test_what_is_shown_is_what_was_found(bundles):
    folder = bundles[TAGS]
    entities = edgelm.runtime.load(folder)("the very bad film a good film")["entities"]
    shown = run("run", folder, "the very bad film a good film").stdout.strip()
    assert shown == ("  ".join(f"{one['text']} (THING {one['score']:.3f})" for one in entities) or "(none)")
    best = edgelm.runtime.load(bundles[QUESTIONS])(SAMPLES[QUESTIONS])["best"]
    shown = run("run", bundles[QUESTIONS], *WORDS[QUESTIONS], "--top", "2").stdout.strip()
    assert shown == "  ".join(f"{entry['answer']} {entry['score']:.3f}" for entry in best[:2])


@pytest.mark.parametrize(
    ("task", "line", "words"),
    [
        (QUESTIONS, "no tab here", ":2: this model reads a question and a text"),
        (QUESTIONS, "a question\t", ":2: the text to search is empty"),
        (QUESTIONS, '{"question": "a"}', ":2: this model reads a question and a text"),
        (QUESTIONS, '{"question": ', ":2: not JSON"),
        (MultipleChoice(), "a text\tone ending", ":2: this model chooses one of at least two endings"),
        (MultipleChoice(), '{"text": "a", "choices": "bc"}', ":2: this model chooses"),
        (MultipleChoice(), "{" * 100_000, ":2: not JSON"),
        (PAIRS, "one text", ":2: one text, and this model reads pairs"),
    ],
)
def test_a_line_that_is_no_sample_is_refused_by_its_number(bundles, tmp_path, task, line, words):
    (tmp_path / "texts.txt").write_text(f"{LINES[task][0]}\n{line}\n")
    result = run("run", bundles[task], "--file", tmp_path / "texts.txt")
    assert result.exit_code == 4, result.output
    assert f"texts.txt{words}" in result.stderr


@pytest.mark.parametrize(
    ("task", "arguments", "words"),
    [
        (QUESTIONS, ["a question"], "a question and a text that answers it"),
        (MultipleChoice(), ["a text", "an ending"], "at least two endings"),
        (TAGS, ["a text", "--pair", "b"], "exported for single texts"),
        (PAIRS, ["a", "--template", "{}"], "go with --labels"),
        (PAIRS, ["a", "--multi-label"], "go with --labels"),
        (PAIRS, ["a", "--labels", "b", "--query", "c"], "exclude each other"),
        (PAIRS, ["--query", "c"], "no text was given"),
        (PAIRS, ["a", "--labels", "b,,c"], "does not|entails another"),
        (TAGS, ["a", "--query", "c"], "ranking needs a model"),
    ],
)
def test_a_call_that_does_not_fit_the_model_is_a_usage_error(bundles, task, arguments, words):
    result = run("run", bundles[task], *arguments)
    assert result.exit_code == 2, result.output
    assert re.search(words, result.stderr)
