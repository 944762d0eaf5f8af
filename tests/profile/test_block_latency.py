"""Latency tables: the graphs that are timed have the operators of real exports, and what comes of the times is sane."""

import json
from dataclasses import replace

import pytest
from models import make_checkpoint
from typer.testing import CliRunner

from edgelm import export, load_device
from edgelm.anatomy import load_checkpoint, load_tokenizer, model_layers, save_checkpoint
from edgelm.anatomy.sizes import sizes_of
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.errors import EXIT_DONE, EXIT_USAGE, UsageError
from edgelm.graph.rewrites import operator_counts
from edgelm.graph.synthetic import encoder_graph
from edgelm.hardware.busy import Busy
from edgelm.latency_table import LatencyTable, read_latency_table
from edgelm.profile import block_latency as tables
from edgelm.profile import shape_times
from edgelm.profile.block_latency import Meter, find_table, measure_table
from edgelm.quantize.settings import Quantization
from edgelm.quantize.without_data import quantize_blindly
from edgelm.shapes import LayerShape, ModelSizes

SIZES = ModelSizes(layers=2, hidden=128, heads=4, ffn=256, vocabulary=200, positions=64)


@pytest.fixture
def few_runs(monkeypatch):
    monkeypatch.setattr(shape_times, "_RUNS", 10)
    monkeypatch.setattr(shape_times, "_WARMUP", 1)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_graphs_have_the_operators_of_a_real_export(tmp_path, precision):
    """With a layer of each kind: whole, without heads, without channels."""
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m", hidden=256, heads=4, ffn=512, layers=3, spread=0.02))
    model = load_checkpoint(checkpoint)
    shapes = [LayerShape(4, 512), LayerShape(0, 256), LayerShape(2, 0)]
    for layer, shape in zip(model_layers(model), shapes, strict=True):
        layer.cut(heads=range(shape.heads), ffn=range(shape.ffn))
    save_checkpoint(tmp_path / "cut", model, load_tokenizer(checkpoint), checkpoint.record)
    plain = Quantization(method="minmax")
    made = export(
        tmp_path / "cut", output=tmp_path / "b.edge", device=load_device("cpu"), precision=precision, quantization=plain
    )
    graph = quantize_blindly(encoder_graph(sizes_of(checkpoint.config, task=checkpoint.task), shapes), precision)
    assert operator_counts(graph) == made.operators


@pytest.mark.parametrize("precision", ["fp16", "int8-dynamic", "int8-weights", "int4"])
def test_every_precision_can_be_timed(few_runs, precision):
    shapes = [SIZES.full(), (LayerShape(0, 0),) * 2]
    assert all(time > 0 for time in tables.measure_shapes(SIZES, shapes, precision=precision, sequence=8, threads=1))


def test_a_table_is_made_of_differences_and_never_falls(monkeypatch, tmp_path):
    """The times are given: a call of 1 ms, 0.2 a layer, 0.1 a head and 0.01 a channel, but for a measurement that came
    out too low."""
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m", hidden=128, heads=4, ffn=256))

    def times(sizes, models, **_):
        found = [1.0 + sum(0.2 + 0.1 * shape.heads + 0.01 * shape.ffn for shape in shapes) for shapes in models]
        return [
            time - 0.5 * (tuple(shapes[:1]) == (LayerShape(3, 0),)) for time, shapes in zip(found, models, strict=True)
        ] + [50.0]

    monkeypatch.setattr(tables, "measure_shapes", times)
    table = measure_table(
        sizes_of(checkpoint.config, task=checkpoint.task),
        precision="int8",
        sequence=16,
        threads=1,
        checkpoint=checkpoint,
    )
    assert (table.rest, table.layer) == (pytest.approx(1.0), pytest.approx(0.2))
    assert table.attention == pytest.approx({0: 0.0, 1: 0.1, 2: 0.2, 3: 0.2, 4: 0.4})
    assert table.ffn[256] == pytest.approx(2.56)
    assert (table.pytorch, table.whole) == (50.0, pytest.approx(1.0 + 2 * 3.16))
    assert table.error == pytest.approx(0.0, abs=1e-9)
    monkeypatch.setattr(
        tables, "measure_shapes", lambda _, models, **__: [2 * time for time in times(None, models)][:2]
    )
    assert Meter(table, patience_s=0.0)((LayerShape(2, 0),) * 2) == pytest.approx(
        1.8
    )  # a machine that is half as fast now says the same


def test_a_meter_waits_until_the_machine_is_as_it_was(monkeypatch):
    """Its cores are far from each other at first: the uncut model takes twice its time, a small one three times.
    Patience is for all calls."""
    table = LatencyTable("measured", "ms", SIZES, "int8", 16, 1.0, 0.0, {0: 0.0, 1: 0.0}, {0: 0.0, 1: 0.0}, whole=10.0)
    far, near = [20.0, 6.0], [10.5, 2.1]
    found, waits = iter([far, near, far, far, near]), []
    monkeypatch.setattr(tables, "measure_shapes", lambda *_, **__: next(found))
    clock = iter(range(0, 1000, 100))
    monkeypatch.setattr(tables.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(tables.time, "sleep", waits.append)
    meter = Meter(table, threads=1)
    assert meter(()) == pytest.approx(2.0)
    assert meter(()) == pytest.approx(3.0)  # it has waited long enough: the far cores' answer, in the table's terms
    assert len(waits) == 2
    assert meter(()) == pytest.approx(2.0)


def test_a_kept_table_that_the_model_outruns_is_made_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    slow = LatencyTable("measured", "ms", SIZES, "int8", 16, 1.0, 0.0, {0: 0.0, 1: 0.0}, {0: 0.0, 1: 0.0}, whole=25.0)
    fast = replace(slow, whole=15.0)
    made = iter([slow, fast])
    monkeypatch.setattr(tables, "measure_table", lambda *_, **__: next(made))
    monkeypatch.setattr(tables, "measure_shapes", lambda *_, **__: [15.0])
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    assert [find_table(checkpoint, precision="int8", sequence=16).whole for _ in range(3)] == [25.0, 15.0, 15.0]


class TimedProcesses:
    """Stands for the processes of a table: those that were started, and when the user interrupts their calls.

    Args:
        interrupt: after so many calls of one of them; None: never.
    """

    def __init__(self, monkeypatch, interrupt=None):
        self.asked, self.started, self.interrupt = 0, 0, interrupt
        monkeypatch.setattr(shape_times, "WorkerClient", self.start)
        monkeypatch.setattr("edgelm.profile.interleave.REST_S", 0.0)

    def start(self, subject, *, threads):
        self.started += 1
        process = type("Process", (), {"close": lambda _: None, "ask": self.ask})()
        process.ms = 1.0 + self.started
        return process

    def ask(self, what, *, count=0, skip=0, **values):
        self.asked += what == "block"
        if self.asked == self.interrupt:
            raise KeyboardInterrupt
        return {"samples_ms": [1.0 + self.asked / 1000] * count}


def test_an_interrupted_table_goes_on_from_its_last_round(monkeypatch, tmp_path):
    """A table of 18 graphs: they warm up by a call each, and then eight rounds have one of each."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = {"precision": "fp32", "sequence": 8, "threads": 1}
    whole = TimedProcesses(monkeypatch)
    measure_table(SIZES, **options)
    graphs, rounds = whole.started, whole.asked // whole.started - 1
    assert rounds == 8
    assert not list((tmp_path / "cache").rglob("*.json"))  # nothing is left of one that ended
    TimedProcesses(monkeypatch, interrupt=graphs * 6 + 3)
    with pytest.raises(KeyboardInterrupt):
        measure_table(SIZES, **options)
    (file,) = (tmp_path / "cache").rglob("*.part.json")
    assert len(json.loads(file.read_text())["rows"]) == 5
    other = TimedProcesses(monkeypatch)
    measure_table(SIZES, **options | {"sequence": 9})  # of another question
    assert other.asked == graphs * 9
    again = TimedProcesses(monkeypatch)
    measure_table(SIZES, **options)
    assert again.asked == graphs * 4  # one to warm up, and the three rounds that were left
    assert not list((tmp_path / "cache").rglob("*.part.json"))


def test_a_table_in_a_hurry_has_fewer_graphs_and_one_round_and_is_not_kept(monkeypatch, tmp_path):
    """The rounds are: the next call goes on from them, and keeps what it then has."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    monkeypatch.setattr(tables, "look", lambda: Busy(cores=2, load=None, before=0.0))
    options = {"precision": "int8", "sequence": 16, "threads": 1}
    hurried = TimedProcesses(monkeypatch)
    find_table(checkpoint, seconds=0.0, **options)
    assert hurried.asked == 2 * hurried.started  # one to warm up, and one round
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1  # the round
    whole = TimedProcesses(monkeypatch)
    find_table(checkpoint, **options)
    assert whole.asked == 9 * whole.started
    assert whole.started > hurried.started
    kept = TimedProcesses(monkeypatch)
    find_table(checkpoint, **options)
    assert kept.started == 1  # the uncut model, to see whether the table is still true


@pytest.mark.parametrize("rows", ["{", '{"edgelm_rows": 1, "rows": [{"load": 0.1, "samples": [[1.0], [2.0]]}]}', "[]"])
def test_rounds_that_somebody_changed_are_measured_anew(monkeypatch, tmp_path, rows):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = {"precision": "fp32", "sequence": 8, "threads": 1}
    TimedProcesses(monkeypatch, interrupt=60)
    with pytest.raises(KeyboardInterrupt):
        measure_table(SIZES, **options)
    (file,) = (tmp_path / "cache").rglob("*.part.json")
    file.write_text(rows)
    again = TimedProcesses(monkeypatch)
    measure_table(SIZES, **options)
    assert again.asked == again.started * 9


def test_a_table_is_measured_once_and_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls = []
    monkeypatch.setattr(tables, "measure_shapes", lambda *_, **__: [26.0])
    table = LatencyTable(
        "measured",
        "ms",
        SIZES,
        "int8",
        16,
        1.0,
        0.0,
        {0: 0.0, 4: 4.0},
        {0: 0.0, 256: 8.0},
        pytorch=30.0,
        whole=25.0,
        error=0.0,
    )
    monkeypatch.setattr(tables, "measure_table", lambda *_, **__: calls.append(1) or table)
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    assert [find_table(checkpoint, precision="int8", sequence=16) for _ in range(2)] == [table, table]
    assert len(calls) == 1
    find_table(checkpoint, precision="fp32", sequence=16)
    find_table(checkpoint, precision="int8", sequence=24)
    assert len(calls) == 3


def test_a_table_of_a_busy_machine_is_not_kept(monkeypatch, tmp_path):
    """Other work makes small operators dear: the next compression measures again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    loads = iter([1.8, 0.04, 1.8])
    monkeypatch.setattr(tables, "look", lambda: Busy(cores=2, load=None, before=next(loads)))
    monkeypatch.setattr(
        tables, "measure_shapes", lambda sizes, models, **_: [1.0 + len(shapes) for shapes in models] + [9.0]
    )
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    assert [find_table(checkpoint, precision="int8", sequence=16).machine["load"] for _ in range(3)] == [
        0.9,
        0.02,
        0.02,
    ]
    assert not LatencyTable("measured", "ms", SIZES, "int8", 16, 1.0, 0.0, {}, {}, machine={"load": 0.9}).quiet
    assert LatencyTable("estimated", "ms", SIZES, "int8", 16, 1.0, 0.0, {}, {}).quiet


def test_the_command_writes_a_table_that_compress_reads(few_runs, tmp_path):
    model = make_checkpoint(tmp_path / "m", hidden=128, heads=4, ffn=256)
    words = ["latency-table", str(model), "--output", str(tmp_path / "t.json"), "--sequence", "8", "--threads", "1"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == EXIT_DONE, shown.output
    assert "add up to within" in shown.output
    table = read_latency_table(tmp_path / "t.json")
    assert (table.sequence, table.precision, table.machine["threads"]) == (8, "int8", 1)
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == EXIT_USAGE
    assert json.loads((tmp_path / "t.json").read_text())["whole"] == table.whole


def test_a_table_is_for_the_median_length_of_the_users_texts(monkeypatch, tmp_path):
    model = make_checkpoint(tmp_path / "m")
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in ("on", "lights on", "turn the lights on"))
    )
    monkeypatch.setattr(
        tables, "measure_shapes", lambda sizes, models, **_: [1.0 + len(shapes) for shapes in models] + [9.0]
    )
    words = [
        "latency-table",
        str(model),
        "--data",
        str(tmp_path / "rows.jsonl"),
        "--precision",
        "fp32",
        "--output",
        str(tmp_path / "t.json"),
    ]
    made = CliRunner().invoke(app, words)
    assert made.exit_code == EXIT_DONE, made.output
    assert read_latency_table(tmp_path / "t.json").sequence == 4  # two words between [CLS] and [SEP]
    assert "--max-latency 1ms --precision fp32" in made.output  # a table is of use in its own precision alone


def test_two_lengths_at_once_are_refused(tmp_path):
    model = make_checkpoint(tmp_path / "m")
    (tmp_path / "rows.txt").write_text("turn the lights on\n")
    more = ["--sequence", "8", "--data", str(tmp_path / "rows.txt"), "--output", str(tmp_path / "t.json")]
    refused = CliRunner().invoke(app, ["latency-table", str(model), *more])
    assert refused.exit_code == EXIT_USAGE
    assert "--sequence and --data" in refused.output
    assert not (tmp_path / "t.json").exists()


def test_a_length_or_precision_that_cannot_be_is_refused(tmp_path):
    model = make_checkpoint(tmp_path / "m")
    with pytest.raises(UsageError, match="tokens"):
        tables.write_table(model, tmp_path / "t.json", precision="int8", sequence=1000)
    with pytest.raises(UsageError, match="no latency"):
        tables.write_table(model, tmp_path / "t.json", precision="int2")
    assert not (tmp_path / "t.json").exists()


def test_a_kept_table_that_is_torn_is_made_anew_and_one_that_cannot_be_kept_serves(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    table = LatencyTable("measured", "ms", SIZES, "int8", 16, 1.0, 0.0, {0: 0.0, 1: 0.0}, {0: 0.0, 1: 0.0}, whole=25.0)
    calls = []
    monkeypatch.setattr(tables, "measure_table", lambda *_, **__: calls.append(1) or table)
    monkeypatch.setattr(tables, "measure_shapes", lambda *_, **__: [25.0])
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    find_table(checkpoint, precision="int8", sequence=16)
    (file,) = (tmp_path / "cache").rglob("*.json")
    file.write_bytes(file.read_bytes()[:20])
    for _ in range(2):
        assert find_table(checkpoint, precision="int8", sequence=16).whole == 25.0
    assert len(calls) == 2
    (tmp_path / "no-folder").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-folder"))
    assert find_table(checkpoint, precision="int8", sequence=16).whole == 25.0
