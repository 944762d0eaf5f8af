"""`edgelm search` on models that write: trials of depth, width and vocabulary, judged by what a bundle finds likely."""

import json
import math

import pytest
from generators import SENTENCES, make_generator
from inline_workers import take_inline
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.recipe import load_recipe
from edgelm.search.space import load_recipes, load_space, space_for
from edgelm.tasks.generation import Summarization, TextGeneration, Translation

RECIPE = """
name: {name}
stages:
{vocabulary}  - {{stage: fit, keep: 0.5, samples: 8, judged: 4, tries: 2, multiple: 8, max_length: 32}}
"""
VOCABULARY = "  - {stage: vocabulary, min_tokens: 64, frequent: 0}\n"
SPACE = """
name: tiny
recipes: [{recipes}]
settings:
  fit.keep: [0.5, 0.9]
  vocabulary.min_tokens: [64]
"""


@pytest.mark.parametrize(
    ("task", "name"), [(TextGeneration, "generators"), (Translation, "seq2seq"), (Summarization, "seq2seq")]
)
def test_there_is_a_space_for_models_that_write(task, name):
    space = load_space(space_for(task()))
    assert space.name == name
    recipes = load_recipes(space)  # every value of every setting is possible in them
    assert {"fit.keep", "vocabulary.min_tokens"} <= {
        path for recipe in recipes.values() for path in space.axes_of(recipe)
    }
    assert load_recipe("generator-one-shot").name in recipes


def test_trials_of_depth_width_and_vocabulary(tmp_path, monkeypatch, warm_workers):
    take_inline(monkeypatch)
    model = make_generator(tmp_path / "m", "llama", heads=2, kv_heads=2, layers=3, positions=64)
    rows = tmp_path / "rows.txt"
    rows.write_text("\n\n".join(SENTENCES * 2))
    for name, vocabulary in (("fit", ""), ("words", VOCABULARY)):
        (tmp_path / f"{name}.yaml").write_text(RECIPE.format(name=name, vocabulary=vocabulary))
    (tmp_path / "space.yaml").write_text(SPACE.format(recipes=f"{tmp_path}/fit.yaml, {tmp_path}/words.yaml"))
    asked = ["search", model, "--data", rows, "--eval", rows, "--output", tmp_path / "out", "--trials", 3]
    asked += ["--space", tmp_path / "space.yaml", "--runs", 4, "--threads", 1, "--max-length", 32]

    done = CliRunner().invoke(app, [*map(str, asked), "--json"])

    assert done.exit_code == 0, done.output + done.stderr
    result = json.loads(done.stdout)
    assert result["metric"] == "byte_log_likelihood"
    trials = result["trials"]
    assert [trial["state"] for trial in trials] == ["finished"] * 3
    assert {trial["recipe"].rpartition("/")[2] for trial in trials} == {"fit.yaml", "words.yaml"}
    for trial in trials:
        assert trial["quality"] == pytest.approx(-math.log(trial["metrics"]["byte_perplexity"]))
        assert trial["latency_ms"] > 0
    profile = json.loads((tmp_path / "out" / "trials" / str(trials[0]["number"]) / "profile.json").read_text())
    assert profile["cases"][0]["measure"] == "token"
    assert profile["cases"][0]["tokens"] == 32  # half of what it holds
