"""What a user of `edgelm report` gets: one page with the headline first, figures that can be counted again, and words
where something was not measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from bundles import make_bundle, reseal, set_field
from onnx import numpy_helper
from pages import check_page, table_of
from report_material import EVIL, a_profile, rows_file, write_profiles
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.profile.generation.case import GenerationCase
from edgelm.profile.interval import measure_ratio
from edgelm.report.bundle_report import report_schema
from edgelm.runtime import load, open_bundle
from edgelm.tasks.generation import TextGeneration


def run(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def lean(folder: Path, by: float) -> Path:
    """Have a bundle of two labels lean to the second."""
    graph = onnx.load(folder / "model.onnx")
    for tensor in graph.graph.initializer:
        if tensor.name == "bias":
            values = numpy_helper.to_array(tensor) + np.array([0, by], dtype=np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, "bias"))
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return reseal(folder)


STAGE = {"settings": {"keep_ffn": 0.5}, "seed": 3, "parameters": 1000, "seconds": 3600.0}
LINEAGE = {
    "source": "/home/somebody/models/teacher",
    "recipe": "balanced",
    "stages": [
        STAGE | {"stage": "finetune", "settings": {"epochs": 2.0}, "before": {}, "after": {"accuracy": 0.9}},
        STAGE | {"stage": "prune", "before": {"accuracy": 0.9}, "after": {"accuracy": 0.8}},
        STAGE | {"stage": "recover", "settings": {}, "before": {"accuracy": 0.8}, "after": {"accuracy": 0.88}},
    ],
    "data": {"eval": {"source": "data/dev.csv", "rows": 50, "sha256": "0"}},
    "layers": [{"heads": 2, "ffn": 4, "origin": None, "stack": "encoder"}],
    "original_layers": [{"heads": 4, "ffn": 8, "origin": None, "stack": "encoder"}],
}
QUALITY = {"samples": 100, "source": "data/test.csv", "checkpoint": {"accuracy": 0.87}, "bundle": {"accuracy": 0.86}}
SITES = {"source": "data/train.csv", "error": 0.01, "sites": [{"site": "layer.0", "option": "minmax", "error": 0.01}]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle with a history, its original, a profile of both, rows, and what the command writes of them."""
    folder = tmp_path_factory.mktemp("report")
    history = {"lineage": LINEAGE, "quality": QUALITY, "calibration": SITES}
    small = make_bundle(folder / "small.edge", precision="int8", device="cpu", name=EVIL, **history)
    original = lean(make_bundle(folder / "teacher.edge", name="teacher"), 1.5)
    manifest = open_bundle(small).manifest.to_dict()
    profiles = write_profiles(
        folder / "profile.json",
        a_profile("small", "bundle", 1.0, manifest, size_mb=2.0),
        a_profile("teacher", "pytorch", 5.0, {}, size_mb=8.0, seed=1),
    )
    rows = rows_file(folder)
    files = {name: folder / f"report.{name}" for name in ("html", "md", "json")}
    result = run(
        small, "--profile", profiles, "--data", rows, "--original", original, "--price-per-hour", 2, "--calls-per-day",
        1_000_000, "--html", files["html"], "--markdown", files["md"], "--output", files["json"], "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    texts = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
    assert json.loads(result.stdout) == json.loads(texts["json"])
    return {"folder": folder, "small": small, "original": original, "profiles": profiles, "rows": rows} | texts


def test_the_page_is_whole_open_to_all_and_escapes_what_it_is_given(made):
    page = check_page(made["html"])
    assert "&lt;script&gt;" in made["html"]
    assert "\x1b" not in made["html"]
    assert len(page.findall(".//svg")) == 7  # quality, calls, length, batch, operators, reliability, quantization
    assert "<script" not in made["md"]
    for text in (made["html"], made["md"], made["json"]):
        assert "/home/" not in text
        assert str(made["folder"]) not in text


def test_the_first_lines_say_how_much_faster_smaller_and_worse_on_what_at_what_price(made):
    values = json.loads(made["json"])
    (headline,) = values["headlines"]
    first = made["html"][made["html"].index("<main>") : made["html"].index("<nav")]
    for sentence in headline["words"]:
        assert sentence in made["md"]
    mine, other = (profile["cases"][0] for profile in values["profiles"])
    ratio = measure_ratio(mine["samples_ms"], other["samples_ms"], mine["block"], against="teacher")
    assert headline["speed"]["ratio"]["p50"] == ratio.p50 == pytest.approx(5, rel=0.02)
    for said in (
        f"{ratio.p50:.1f}x as fast",
        f"{ratio.low:.1f} to {ratio.high:.1f}",
        "A CPU, 1 thread",
        "(PyTorch fp32)",
    ):
        assert said in first
    assert "smaller" in first
    assert "test: " in first
    answers = {side: load(made[side]) for side in ("small", "original")}
    rows = [json.loads(line) for line in made["rows"].read_text().splitlines()]
    right = {side: [model(row["text"])["label"] == row["label"] for row in rows] for side, model in answers.items()}
    points = 100 * (np.mean(right["small"]) - np.mean(right["original"]))
    assert f"{points:+.1f} points" in first
    (saved,) = values["prices"]["savings"]
    ours, before = (entry["per_million"] for entry in values["prices"]["subjects"])
    assert f"A million calls take {ours:.3g} instead of {before:.3g} in money (estimated, at 2 an hour)" in first
    assert f"at 1,000,000 calls a day the first year saves {saved['a_year']:.4g} in money" in first


def test_the_picture_says_what_the_headline_says(made, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *at, **how: (drawn.append(self), save(self, *at, **how)))
    file = tmp_path / "slide.png"
    result = run(made["small"], "--profile", made["profiles"], "--no-replay", "--png", file, "--json")
    assert result.exit_code == 0, result.output
    assert file.read_bytes().startswith(b"\x89PNG")
    (headline,) = json.loads(result.stdout)["headlines"]
    told = [" ".join(text.get_text().split()) for text in drawn[0].findobj(lambda found: hasattr(found, "get_text"))]
    speed = headline["speed"]
    ratio = speed["ratio"]
    for said in (
        " ".join(" ".join(headline["words"]).split()),
        f"{ratio['p50']:.1f}x as fast",
        f"{ratio['low']:.1f} to {ratio['high']:.1f}; ",
        f"{speed['p50_ms']:.3g} ms instead of {speed['against_p50_ms']:.3g} ms",
        "8.0 MB",
        "speed, measured",
    ):
        assert any(said in text for text in told), said
    refused = run(made["small"], "--png", file)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr


def test_answers_that_changed_are_those_that_anybody_counts(made):
    rows = [json.loads(line) for line in made["rows"].read_text().splitlines()]
    small, original = load(made["small"]), load(made["original"])
    counted = [
        (number, original(row["text"])["label"], small(row["text"])["label"])
        for number, row in enumerate(rows)
        if original(row["text"])["label"] != small(row["text"])["label"]
    ]
    assert len(counted) > 5
    (change,) = json.loads(made["json"])["answers"]["changes"]
    assert [(entry["row"], entry["before"], entry["after"]) for entry in change["answers"]] == counted
    assert change["mended"] == sum(after == rows[number]["label"] for number, _, after in counted)
    assert change["broken"] == sum(before == rows[number]["label"] for number, before, _ in counted)
    shown = table_of(check_page(made["html"]), "Each of them")
    assert [row["label"] for row in shown] == [rows[number]["label"] for number, _, _ in counted]


def test_dev_and_test_are_told_apart(made):
    rows = table_of(check_page(made["html"]), "Before and after")
    told = {row["what is compared"]: (row["before"], row["after"], row["rows"]) for row in rows}
    assert told["compressed checkpoint against original"] == ("0.9000", "0.8800", "dev: data/dev.csv, 50 rows")
    assert told["int8 bundle against its checkpoint"] == ("0.8700", "0.8600", "test: data/test.csv, 100 rows")


def test_the_json_keeps_to_its_schema(made):
    jsonschema.Draft202012Validator.check_schema(report_schema())
    validator = jsonschema.Draft202012Validator(report_schema())
    values = json.loads(made["json"])
    validator.validate(values)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(values | {"headlines": []})


def test_what_was_calculated_is_marked_and_adds_up(made):
    prices = json.loads(made["json"])["prices"]
    assert prices["source"] == "estimated"
    small, teacher = (entry["per_million"] for entry in prices["subjects"])
    assert small == pytest.approx(1.0 / 3.6e6 * 2 * 1e6, rel=0.01)  # 1 ms a call, 2 an hour
    (saved,) = prices["savings"]
    assert saved["training"] == pytest.approx(3 * 2)  # three stages of an hour
    assert saved["a_year"] == pytest.approx((teacher - small) * 365 - 6)
    assert "Money, estimated" in made["md"]


def test_the_commands_and_the_recipe_make_it_again(made):
    import yaml

    from edgelm.recipe import Recipe

    code = [found.text_content() for found in check_page(made["html"]).iter("pre")]
    assert re.findall(r"^edgelm ([a-z]+)", code[0], flags=re.MULTILINE) == [
        "finetune", "compress", "export", "profile", "report",
    ]  # fmt: skip
    recipe = Recipe.model_validate(yaml.safe_load(code[1]))
    assert [stage.stage for stage in recipe.stages] == ["prune", "recover"]
    assert recipe.stages[0].keep_ffn == 0.5
    assert recipe.seed == 3


def test_a_bundle_alone_gets_a_page_that_says_what_is_not_known(made, tmp_path):
    page = tmp_path / "alone.html"
    result = run(make_bundle(tmp_path / "alone.edge"), "--html", page)
    assert result.exit_code == 0, result.output
    check_page(page.read_text())
    assert page.read_text().count("not measured") >= 2
    assert "What calls cost is not known: give --price-per-hour, or --watts" in page.read_text()
    assert run(made["small"], "--html", page).exit_code == 2  # it is there


def test_several_bundles_on_several_machines_are_compared(made, tmp_path):
    manifests = [open_bundle(made[side]).manifest.to_dict() for side in ("small", "original")]
    profiles = [
        write_profiles(
            tmp_path / f"{host}.json",
            *(
                a_profile(f"b{number}", "bundle", speed * (1 + number), manifest, size_mb=2.0, host=host)
                for number, manifest in enumerate(manifests)
            ),
            a_profile("teacher", "pytorch", 9 * speed, {}, size_mb=8.0, host=host),
        )
        for host, speed in (("pi", 3.0), ("jetson", 1.0))
    ]
    page = tmp_path / "both.html"
    options = [word for file in profiles for word in ("--profile", file)]
    result = run(made["small"], made["original"], *options, "--data", made["rows"], "--html", page, "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert [entry["name"] for entry in values["headlines"]] == [EVIL, "teacher"]
    assert all(entry["speed"]["against"] == "teacher (PyTorch fp32)" for entry in values["headlines"])
    rows = table_of(check_page(page.read_text()), "On each machine")
    assert len({row["machine"] for row in rows}) == 2
    assert len(rows) == 4


def test_a_model_that_writes_is_told_by_tokens_and_perplexity(tmp_path):
    from generator_bundles import make_generator_bundle

    bundle = make_generator_bundle(tmp_path / "writer", "llama")
    manifest = open_bundle(bundle).manifest.to_dict()
    rng = np.random.default_rng(0)
    profiles = [
        a_profile(name, kind, 1.0, of, size_mb=2.0).to_dict()
        | {
            "cases": [
                GenerationCase(measure, tokens, tuple(rng.normal(middle, 0.02, 60)), 5, cache_mb=1.0).to_dict()
                for measure, tokens in (("token", 16), ("token", 256), ("first-token", 32))
            ]
        }
        for name, kind, of, middle in (("writer", "bundle", manifest, 1.0), ("model", "pytorch", {}, 3.0))
    ]
    for entry in profiles:
        entry["settings"]["prompt_runs"] = 20
    file, page = tmp_path / "p.json", tmp_path / "p.html"
    file.write_text(json.dumps({"schema": 1, "profiles": profiles}))
    again = tmp_path / "again.json"
    again.write_text(file.read_text())
    result = run(bundle, "--profile", file, "--profile", file, "--profile", again, "--html", page, "--json")
    assert result.exit_code == 0, result.output
    (headline,) = json.loads(result.stdout)["headlines"]
    assert "3.0 times as fast as model (PyTorch fp32)" in headline["words"][0]
    assert "a token behind 16 tokens" in headline["words"][0]
    check_page(page.read_text())
    assert "Time of a token by context" in page.read_text()
    assert run(bundle, "--data", file).exit_code == 2


def test_a_model_and_its_bundle_of_one_name_are_two_in_every_chart(made, tmp_path):
    bundle = make_bundle(tmp_path / "b", name="teacher")
    manifest = open_bundle(bundle).manifest.to_dict()
    both = (("bundle", 1.0, manifest), ("pytorch", 5.0, {}))
    profiles = [a_profile("teacher", kind, middle, of, size_mb=2.0) for kind, middle, of in both]
    page = tmp_path / "p.html"
    data = ("--data", made["rows"], "--original", made["original"])
    result = run(bundle, "--profile", write_profiles(tmp_path / "p.json", *profiles), *data, "--html", page)
    assert result.exit_code == 0, result.output
    drawings = {
        drawing.get("aria-label").split(".")[0]: drawing for drawing in check_page(page.read_text()).iter("svg")
    }
    calls = next(drawing for title, drawing in drawings.items() if title.startswith("Latency of every call"))
    named = " ".join(label.text for label in calls.iter("text"))
    assert "teacher, bundle fp32" in named
    assert "teacher, pytorch fp32" in named
    quality = next(drawing for title, drawing in drawings.items() if title.startswith("accuracy over latency"))
    assert {"teacher", "teacher (original)"} <= {label.text for label in quality.iter("text")}


def test_bundles_of_one_name_get_labels_of_their_own(made, tmp_path):
    first, second = make_bundle(tmp_path / "a"), make_bundle(tmp_path / "b", precision="int8")
    values = json.loads(run(first, second, "--json").stdout)
    assert [bundle["label"] for bundle in values["bundles"]] == ["tiny (fp32)", "tiny (int8)"]


def test_a_bundle_that_was_changed_is_told(tmp_path):
    folder = make_bundle(tmp_path / "b")
    (folder / "golden.json").write_text("{}")
    result = run(folder, "--json")
    assert result.exit_code == 0
    assert not json.loads(result.stdout)["bundles"][0]["verified"]["ok"]
    assert "does not pass" in result.stderr


def test_what_cannot_be_compared_is_refused_by_name(made, tmp_path):
    text = tmp_path / "no.json"
    text.write_text("[]")
    other = make_bundle(tmp_path / "other")
    reseal(other, set_field(("task", "labels"), ["x", "y"]))
    for arguments, code, words in (
        (("--original", made["original"]), 2, "--data"),
        (("--calls-per-day", 3), 2, "--price-per-hour"),
        (("--profile", text), 4, "no profiles"),
        (("--profile", tmp_path / "none.json"), 4, "none.json"),
        (("--data", made["rows"], "--original", other), 4, "for something else"),
        (("--data", tmp_path / "none.csv"), 4, "none.csv"),
    ):
        result = run(made["small"], *arguments)
        assert result.exit_code == code, result.output
        assert words in result.stderr
    with pytest.raises(Exception, match="profile"):
        from edgelm.report.answers import check_comparable

        check_comparable(TextGeneration(), original=False)


def test_an_original_in_pytorch_answers_as_transformers_does(tmp_path):
    from models import TEXTS, make_checkpoint
    from transformers import pipeline

    from edgelm.cli.checkpoint_answers import checkpoint_answerer
    from edgelm.progress import silent

    checkpoint = make_checkpoint(tmp_path / "model")
    manifest = open_bundle(make_bundle(tmp_path / "b")).manifest
    ask = checkpoint_answerer(checkpoint, manifest, progress=silent, name="model")
    wanted = pipeline("text-classification", str(checkpoint))(list(TEXTS))
    found = ask(TEXTS)
    assert [answer["label"] for answer in found] == [answer["label"] for answer in wanted]
    # both in FP32, in batches of other sizes
    assert [answer["score"] for answer in found] == pytest.approx([answer["score"] for answer in wanted], abs=1e-5)
