"""Budgets of models that write: what is asked, what comes, and what is refused. Times are of a bench that knows what
each sublayer takes, so that nothing hangs on the machine; one test times real bundles."""

import json
from dataclasses import replace

import pytest
from generators import SENTENCES, make_generator
from typer.testing import CliRunner

from edgelm import load_device
from edgelm.anatomy import layer_shapes, load_checkpoint
from edgelm.budget import Budget
from edgelm.budgeting import token_bench
from edgelm.budgeting.fastest import find_fastest
from edgelm.budgeting.generators import WriterTargets, judge_drop
from edgelm.budgeting.token_bench import Bench, Lengths, Timed
from edgelm.budgeting.token_times import TokenTimes, find_times, measure_times
from edgelm.checkpoint import StageRecord, open_checkpoint
from edgelm.cli.main import app
from edgelm.compress.pipeline import CompressResult
from edgelm.errors import UsageError

FEW = ["--set", "fit.samples=16", "--set", "fit.judged=8", "--set", "fit.tries=4", "--set", "fit.multiple=8"]
FEW += ["--set", "fit.max_length=32", "--max-length", "32"]
SHAPE = {"layers": 4, "hidden": 64, "heads": 4, "kv_heads": 4, "ffn": 128}


def token_ms(shapes, tokens, *, off=1.0):
    """What a model takes: a call, its head, its sublayers and their units."""
    decoder = [shape for shape in shapes if shape.stack == "decoder"]
    groups = sum(shape.heads + (shape.cross or 0) for shape in decoder)
    there = sum(bool(shape.heads) + bool(shape.ffn) + bool(shape.cross) for shape in decoder)
    channels = sum(shape.ffn for shape in decoder)
    return 0.05 + 1e-4 * tokens + off * (0.02 * there + 0.05 * groups + 2e-3 * channels)


@pytest.fixture
def known_times(monkeypatch, tmp_path):
    """A bench whose times follow `token_ms`; returns what can be changed of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    knobs = {"off": 1.0, "timed": 0}

    def timed(bench, model, **options):
        knobs["timed"] += 1
        return replace(time(bench, layer_shapes(model), len(model.get_output_embeddings().weight)), size_mb=1.0)

    def time(bench, shapes, tokens=None, *, first=False, hidden=1.0):
        known = len(bench.model.get_output_embeddings().weight)
        whole = token_ms(layer_shapes(bench.model), known, off=1.0)
        bench.token_ms, bench.first_ms = whole, 10 * whole
        # What is off shows in models that are cut as a search cuts them, not in those that times are fitted to.
        even = len({(shape.heads, shape.ffn, shape.cross) for shape in shapes if not shape.empty}) <= 2
        ratio = token_ms(shapes, tokens or known, off=1.0 if even else knobs["off"]) / whole
        return Timed(ratio, ratio, memory_mb=80.0 + ratio, size_mb=1.0)

    monkeypatch.setattr(Bench, "time", time)
    monkeypatch.setattr(Bench, "time_model", timed)
    return knobs


def texts(folder):
    file = folder / "texts.txt"
    file.write_text("\n\n".join(SENTENCES * 2))
    return file


def compress(model, rows, output, *options):
    asked = ["compress", model, "--data", rows, "--eval", rows, "--output", output, *FEW, *options]
    done = CliRunner().invoke(app, [*map(str, asked), "--json"])
    assert done.exit_code in (0, 3), done.output + done.stderr
    return json.loads(done.stdout)["budget"]


@pytest.mark.parametrize("speedup", [1.5, 3.0])
def test_a_speedup_is_of_a_token_of_its_own_bundle(speedup, known_times, tmp_path):
    model = make_generator(tmp_path / "m", "llama", **SHAPE)
    (verdict,) = compress(model, texts(tmp_path), tmp_path / "out", "--speedup", f"{speedup}x")
    before = load_checkpoint(model)
    assert verdict["asked"] == pytest.approx(
        token_ms(layer_shapes(before), len(before.get_output_embeddings().weight)) / speedup
    )
    assert (verdict["name"], verdict["unit"]) == ("latency", "ms")
    assert verdict["met"]
    assert verdict["got"] > 0.9 * verdict["asked"]  # nothing is cut that need not be, but for whole groups of heads


def test_a_table_that_is_off_is_corrected_by_what_is_measured(known_times, tmp_path):
    known_times["off"] = 1.3
    model = make_generator(tmp_path / "m", "llama", **SHAPE)
    (verdict,) = compress(model, texts(tmp_path), tmp_path / "out", "--max-latency", "0.5ms")
    assert verdict["asked"] == 0.5
    assert 0.85 < verdict["got"] / verdict["asked"] <= 1.02


def test_a_prompt_a_disk_and_memory_hold_at_once(known_times, tmp_path):
    model = make_generator(tmp_path / "m", "t5-gated", hidden=64, heads=4, ffn=128, layers=3)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"source": text, "target": text}) + "\n" for text in SENTENCES))
    bounds = ["--max-first-token", "6ms", "--max-size", "2MB", "--max-memory", "81MB"]
    found = compress(model, rows, tmp_path / "out", "--task", "summarization", *bounds)
    assert [(row["name"], row["asked"]) for row in found] == [("first-token", 6.0), ("size", 2.0), ("memory", 81.0)]
    assert [row["met"] for row in found] == [True] * 3, found
    assert [row["source"].split(" on ")[0] for row in found] == ["measured"] * 3


@pytest.mark.parametrize("family", ["llama", "t5-gated"])
def test_times_of_sublayers_are_found(family, known_times, tmp_path):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", family, **SHAPE))
    model = load_checkpoint(checkpoint)
    known = len(model.get_output_embeddings().weight)
    lengths = Lengths.of(checkpoint, None, None)
    with Bench(model, checkpoint, lengths, device=load_device("cpu"), precision="int8") as bench:
        times = measure_times(bench)
    assert max(times.error) < 1e-6
    whole = layer_shapes(model)
    other = [replace(shape, ffn=24) for shape in whole[1:]]
    for shapes in (whole, other):
        assert times.token.predict(shapes) == pytest.approx(token_ms(shapes, known))
        assert times.first.predict(shapes) == pytest.approx(10 * token_ms(shapes, known))
    assert times.per_token[0] == pytest.approx(1e-4)
    fewer = times.token.with_vocabulary(known - 50, times.per_token[0])
    assert fewer.predict(whole) == pytest.approx(token_ms(whole, known - 50))
    assert TokenTimes.from_json(times.to_json()) == times


def test_real_bundles_are_timed_beside_the_uncut_one(monkeypatch, tmp_path):
    monkeypatch.setattr(token_bench, "_TOKEN_CALLS", (1, 4, 2))
    monkeypatch.setattr(token_bench, "_PROMPT_CALLS", (1, 2, 2))
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", "llama", **SHAPE))
    model, lengths = load_checkpoint(checkpoint), Lengths.of(checkpoint, 100, 16)
    with Bench(model, checkpoint, lengths, device=load_device("cpu"), precision="int4", threads=1) as bench:
        found = bench.time(layer_shapes(model)[:1], tokens=64, first=True)
        assert bench.time(layer_shapes(model)[:1], tokens=64, first=True) is found
    assert found.token > 0
    assert found.first > 0
    assert 0 < bench.token_ms < float("inf")
    assert 30 < found.memory_mb < 500
    assert 0 < found.size_mb < 2


def test_a_drop_alone_finds_the_fastest_that_keeps_to_it(known_times, tmp_path):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", "llama", **SHAPE))
    tried = []

    def run(output, goal, time_limit):
        (bound,) = goal.bounds
        tried.append(round(targets.whole_ms / bound.allowed, 2))
        made = open_checkpoint(make_generator(output, "llama", **SHAPE))
        before = {"perplexity": 10.0, "byte_perplexity": 2.0}
        after = before if tried[-1] < 3 else {"perplexity": 12.0, "byte_perplexity": 2.2}
        made.record.with_stage(StageRecord("fit", {}, 0, before, after, 1, 1.0)).write(output)
        return CompressResult(output, open_checkpoint(output).record, {"metrics": before}, 1, 1.0)

    with WriterTargets(checkpoint, device=load_device("cpu")) as targets:
        found = find_fastest(Budget(max_drop=5.0), targets.resolve, run, asked="a", output=tmp_path / "out")
    assert tried == [2.0, 4.0, 2.83, 3.36]
    assert found.met
    assert [verdict.name for verdict in found.verdicts] == ["drop"]


def dropped(before, after, folder, family="llama"):
    record = open_checkpoint(make_generator(folder, family, **SHAPE)).record
    done = record.with_stage(StageRecord("fit", {}, 0, before, after, 1, 1.0))
    return judge_drop(5.0, CompressResult(folder, done, {"metrics": before}, 1, 1.0), "")


def test_a_drop_is_percent_of_perplexity_whatever_the_tokens_are(tmp_path):
    found = dropped({"perplexity": 10.0}, {"perplexity": 10.4}, tmp_path / "a")
    assert (found.got, found.unit, found.met) == (pytest.approx(4.0), "% of perplexity", True)
    # Half as many bytes a token: each is likelier, and the text as a whole is not.
    before = {"perplexity": 16.0, "byte_perplexity": 2.0}
    found = dropped(before, {"perplexity": 4.0, "byte_perplexity": 2.0}, tmp_path / "b")
    assert found.got == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--context", "5000", "--max-latency", "1ms"], "this model holds 1 to 127 tokens"),
        (["--prompt-length", "0"], "this model holds 1 to 128 tokens"),
        (["--device", "jetson-orin-nano", "--max-first-token", "1ms"], "can only be measured there"),
        (["--device", "rtx-4090", "--precision", "fp16", "--max-latency", "1ms"], "nothing says what a token takes"),
        (["--precision", "bf16", "--max-latency", "1ms"], "bf16"),
    ],
)
def test_what_cannot_be_bounded_is_refused(options, said, tmp_path):
    model, rows = make_generator(tmp_path / "m", "llama", layers=1), texts(tmp_path)
    asked = ["compress", model, "--data", rows, "--eval", rows, "--output", tmp_path / "out", *options]
    done = CliRunner().invoke(app, [*map(str, asked)])
    assert done.exit_code == 2, done.stderr
    assert said in " ".join(done.stderr.split())


def test_elsewhere_a_speedup_is_counted_in_weights(tmp_path):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", "llama", **SHAPE))
    with WriterTargets(checkpoint, device=load_device("rtx-4090"), precision="fp16") as targets:
        (bound,) = targets.resolve(Budget(speedup=2.0)).goal.bounds
        assert (bound.name, bound.table.unit, bound.measure) == ("weights", "10^6 weights", None)
        with pytest.raises(UsageError):
            targets.resolve(Budget(max_latency_ms=1.0))


def test_a_narrower_model_is_measured_as_it_is(monkeypatch, tmp_path):
    """After a stage that cut the hidden size, and one that dropped tokens."""
    seen = []

    def timed(bench, model, **options):
        seen.append((model.config.hidden_size, len(model.get_output_embeddings().weight), layer_shapes(model)))
        return Timed(0.5, 0.25, memory_mb=80.0, size_mb=1.0)

    monkeypatch.setattr(Bench, "time_model", timed)
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", "llama", **SHAPE))
    with WriterTargets(checkpoint, device=load_device("cpu")) as targets:
        (bound,) = targets.resolve(Budget(max_memory_mb=90.0)).goal.narrowed(0.5).bounds
        shapes = layer_shapes(load_checkpoint(checkpoint))[:2]
        assert bound.with_vocabulary(100).cost(shapes) == pytest.approx(80.0, rel=0.02)  # and its tokenizer
        assert seen == [(32, 100, shapes)]
        (size,) = targets.resolve(Budget(max_size_mb=90.0)).goal.bounds
        whole, half = size.table.predict(shapes), size.narrowed(0.5).table.predict(shapes)
        # Matrices and tables are half as large; files beside them and the names of nodes are as large as they were.
        names = sum(size.table.fixed["decoder"].values()) * len(shapes)
        assert whole - half == pytest.approx((whole - size.table.beside - names) / 2)


def test_interrupted_times_of_a_token_go_on_from_the_last_model(known_times, tmp_path, monkeypatch):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", "llama", **SHAPE))
    lengths = Lengths.of(checkpoint, None, None)
    time, timed = Bench.time, []

    def times(most):
        def counted(bench, *shape, **options):
            if len(timed) == most:
                raise KeyboardInterrupt
            timed.append(shape)
            return time(bench, *shape, **options)

        timed.clear()
        monkeypatch.setattr(Bench, "time", counted)
        with Bench(
            load_checkpoint(checkpoint), checkpoint, lengths, device=load_device("cpu"), precision="fp32"
        ) as bench:
            return find_times(bench)

    with pytest.raises(KeyboardInterrupt):
        times(3)
    assert len(list((tmp_path / "cache").rglob("*.part.json"))) == 1
    found, left = times(None), len(timed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert times(None).token == found.token
    assert len(timed) == left + 3
    assert not list((tmp_path / "cache").rglob("*.part.json"))
