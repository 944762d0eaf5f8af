"""Smoothing, equalization, rounding, the knapsack and the tables: exact where they must be, better where they say
so."""

import itertools
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import task_rows
from graphs import make_feeds, make_graph, output_error
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgelm.data.dataset import Dataset
from edgelm.errors import CalibrationError, ModelError, UsageError
from edgelm.graph.rewrites import operator_counts
from edgelm.graph.session import make_plain_session, make_watching_session
from edgelm.knapsack import least_cost
from edgelm.quantize.blocks import BLOCK, round_blocks
from edgelm.quantize.calibration_table import CalibrationTable, fingerprint, read_table
from edgelm.quantize.grid import quantize_columns
from edgelm.quantize.integers import QuantizationPlan, quantize_static
from edgelm.quantize.matmuls import find_matmuls
from edgelm.quantize.post_training import quantize_post_training, replay
from edgelm.quantize.rounding import adapt, gptq_columns, hessian
from edgelm.quantize.samples import choose_samples
from edgelm.quantize.sensitivity import FLOAT, Evaluator, find_activations
from edgelm.quantize.settings import Quantization
from edgelm.quantize.smooth import find_folds, smooth, smoothing_scales
from edgelm.quantize.statistics import collect
from edgelm.quantize.target import ONNXRUNTIME_CPU, TENSORRT, OperationCounter
from edgelm.quantize.weight_only import quantize_weights

# Costs that do not depend on how busy this machine is.


class LargeModel:
    """Costs of a large model, where a Mul is little beside a product."""

    def product(self, tokens, shape, *, integer):
        return 100.0 if integer else 300.0

    def multiply(self, tokens, width):
        return 1.0


HALF_AS_DEAR = replace(ONNXRUNTIME_CPU, costs=OperationCounter)


def run(graph, feeds):
    session = make_plain_session(graph, exact=True)
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])


def learn(graph, *, gram=False):
    feeds = make_feeds()
    return collect(graph, [site.source for site in find_activations(graph)], feeds, count=len(feeds), gram=gram)


def judge_of(graph, metric=None):
    feeds = make_feeds(16, seed=7)
    return Evaluator(feeds, run(graph, feeds), metric)


def test_smoothing_leaves_the_float_function_as_it_is():
    graph = make_graph(outlier=50)
    scales = {}
    for site in find_activations(graph):
        scales[site.source] = smoothing_scales(
            learn(graph)[site.source].channel_max, [product.weight for product in site.products], 0.5
        )
    feeds = make_feeds(4)
    np.testing.assert_allclose(
        run(smooth(graph, scales), feeds), run(graph, feeds), rtol=1e-4, atol=1e-4
    )  # float32, other products


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_smoothing_scales_are_those_of_the_paper(seed):
    """Up to the common factor that keeps their geometric mean at 1."""
    rng = np.random.default_rng(seed)
    activation, weight = np.abs(rng.normal(size=9)) + 0.01, rng.normal(size=(9, 4))
    found = smoothing_scales(activation, [weight], 0.7)
    wanted = np.array([activation[j] ** 0.7 / max(abs(value) for value in weight[j]) ** 0.3 for j in range(9)])
    np.testing.assert_allclose(found / found[0], wanted / wanted[0], rtol=1e-5)
    assert np.exp(np.log(found).mean()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(("family", "fused"), [("bert", True), ("roberta", False)])
def test_attention_outputs_are_divided_at_no_cost_through_their_values(tmp_path, family, fused):
    """Cross-layer equalization: the same function and not a node more."""
    from models import TEXTS, make_checkpoint

    from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
    from edgelm.checkpoint import open_checkpoint
    from edgelm.export.trace import export_graph

    folder = make_checkpoint(tmp_path / "m", family, hidden=128, ffn=256, spread=0.1)
    model, tokenizer = load_checkpoint(folder), load_tokenizer(folder)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):  # equal ones are exported as one constant
            weight.data.normal_()
    graph = export_graph(TaskModel(model, tokenizer, open_checkpoint(folder).task, 64), fused=fused)
    folds = find_folds(graph)
    assert len(folds) == 2  # layers
    rng = np.random.default_rng(0)
    divided = smooth(graph, {source: rng.uniform(0.2, 5, size=128).astype(np.float32) for source in folds})
    assert operator_counts(divided) == operator_counts(graph)
    feeds = [dict(tokenizer([text], return_tensors="np")) for text in TEXTS]
    names = {value.name for value in graph.graph.input}
    feeds = [{name: values for name, values in feed.items() if name in names} for feed in feeds]
    np.testing.assert_allclose(run(divided, feeds), run(graph, feeds), atol=1e-4)  # float32, other products
    watched = [make_watching_session(made, list(folds)).run(list(folds), feeds[0]) for made in (graph, divided)]
    assert all(np.abs(before - after).max() > 0.1 for before, after in zip(*watched, strict=True))


def test_an_outlier_channel_is_found_and_smoothed():
    """One channel 50 times the others: min-max alone loses what smoothing keeps."""
    graph = make_graph(outlier=50)
    statistics, judge = learn(graph), judge_of(graph)
    plain = quantize_post_training(graph, statistics, judge, ONNXRUNTIME_CPU, Quantization(method="minmax"))
    careful = quantize_post_training(
        graph, statistics, judge, replace(ONNXRUNTIME_CPU, costs=LargeModel), Quantization()
    )
    assert careful.chosen["first"].kind == "smooth"
    assert careful.error < plain.error / 10
    assert plain.error == pytest.approx(judge.error(judge.outputs(plain.graph)))


@pytest.mark.parametrize("target", [ONNXRUNTIME_CPU, TENSORRT], ids=["onnxruntime", "tensorrt"])
def test_a_table_gives_the_same_graph_again(tmp_path, target):
    graph = make_graph(outlier=30)
    statistics = learn(graph)
    made = quantize_post_training(graph, statistics, judge_of(graph), target, Quantization())
    chosen = {name: {"option": option.kind, "alpha": option.alpha} for name, option in made.chosen.items()}
    CalibrationTable(fingerprint(graph), {"source": "x"}, target.name, statistics, chosen).save(tmp_path / "t.json")
    table = read_table(tmp_path / "t.json", model=fingerprint(graph))
    again = replay(graph, table.statistics, table.chosen, target)
    feeds = make_feeds(5, seed=3)
    if not made.corrected:
        np.testing.assert_allclose(run(again, feeds), run(made.graph, feeds), atol=1e-6)
    assert judge_of(graph).error(judge_of(graph).outputs(again)) < 1e-3
    for name, entry in statistics.items():
        np.testing.assert_array_equal(entry.histogram.counts, table.statistics[name].histogram.counts)


def test_broken_and_foreign_tables_are_refused(tmp_path):
    graph = make_graph()
    path = tmp_path / "t.json"
    CalibrationTable(fingerprint(graph), {}, "onnxruntime", learn(graph)).save(path)
    with pytest.raises(CalibrationError, match="other weights"):
        read_table(path, model=fingerprint(make_graph(seed=1)))
    values = json.loads(path.read_text())
    values["statistics"]["x"]["low"] = float("nan")
    path.write_text(json.dumps(values))
    with pytest.raises(CalibrationError, match="not finite"):
        read_table(path)
    for text in ("", "[]", "{}", '{"edgelm_calibration": 99}'):
        path.write_text(text)
        with pytest.raises(CalibrationError, match="not a calibration table"):
            read_table(path)


def correlated(rng, tokens, width):
    return rng.normal(size=(tokens, width)) @ rng.normal(size=(width, width))


def rounding_case(seed):
    rng = np.random.default_rng(seed)
    rows = correlated(rng, 200, 24)
    weight = rng.normal(size=(24, 7)).astype(np.float32)
    start = quantize_columns(weight, largest=7)
    matrix = hessian(rows.T @ rows, len(rows))
    return weight, matrix, start, output_error(weight, start.floats(), matrix)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_adaptive_rounding_never_loses_to_the_nearest(seed):
    weight, matrix, start, nearest = rounding_case(seed)
    adapted = output_error(weight, adapt(weight, matrix, start, largest=7).floats(), matrix)
    assert (adapted <= nearest * (1 + 1e-9)).all()


def test_gptq_beats_the_nearest_on_the_whole():
    """It is greedy: a single matrix may come out worse, thirty together do not."""
    found = []
    for weight, matrix, start, nearest in map(rounding_case, range(30)):
        made = gptq_columns(weight, matrix, start.scale, largest=7)
        found.append((nearest.sum(), output_error(weight, made.floats(), matrix).sum()))
    plain, compensated = np.array(found).T
    assert compensated.sum() < 0.7 * plain.sum()
    assert np.mean(compensated < plain) > 0.8


def test_adaptive_rounding_finds_what_brute_force_finds_in_two_channels():
    """All nine integers around the start, for a matrix that couples both channels."""
    matrix = np.array([[2.0, 1.6], [1.6, 2.0]])
    weight = np.array([[0.44], [0.46]], dtype=np.float32)
    start = replace(
        quantize_columns(weight), values=np.array([[4], [5]], dtype=np.int8), scale=np.array([0.1], dtype=np.float32)
    )
    found = adapt(weight, matrix, start)
    grid = [np.array([[4 + a], [5 + b]]) * 0.1 for a, b in itertools.product((-1, 0, 1), repeat=2)]
    best = min(float(output_error(weight, values, matrix)[0]) for values in grid)
    assert float(output_error(weight, found.floats(), matrix)[0]) == pytest.approx(best, rel=1e-5)


def test_gptq_is_the_published_recursion():
    """Against the plain form of algorithm 1: quantize a row, then solve exactly for the rest (optimal brain
    surgeon)."""
    rng = np.random.default_rng(0)
    rows = correlated(rng, 100, 12)
    weight = rng.normal(size=(12, 3))
    matrix = hessian(rows.T @ rows, len(rows))
    scale = quantize_columns(weight.astype(np.float32), largest=7).scale
    found = gptq_columns(weight.astype(np.float32), matrix, scale, largest=7)
    work, wanted = weight.astype(np.float32).astype(np.float64), []
    for row in range(12):
        wanted.append(np.clip(np.rint(work[row] / scale), -7, 7))
        inverse = np.linalg.inv(matrix[row:, row:])
        work[row:] -= np.outer(inverse[:, 0] / inverse[0, 0], work[row] - wanted[-1] * scale)
    np.testing.assert_array_equal(found.values, np.array(wanted))


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), st.integers(0, 9)), min_size=1, max_size=4),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([0.0, 1.0, 2.0, 4.0, 8.0]),
)
@settings(deadline=None)
def test_the_knapsack_is_that_of_brute_force(options, budget):
    """Errors are multiples of budget / 4000 here, so that the grid rounds nothing."""
    best = min(
        (
            sum(item[index][1] for item, index in zip(options, picks, strict=True))
            for picks in itertools.product(*(range(len(item)) for item in options))
            if sum(item[index][0] for item, index in zip(options, picks, strict=True)) <= budget
        ),
        default=None,
    )
    if best is None:
        with pytest.raises(ValueError, match="allowance"):
            least_cost(options, budget)
        return
    picks = least_cost(options, budget)
    assert sum(item[index][1] for item, index in zip(options, picks, strict=True)) == best
    assert sum(item[index][0] for item, index in zip(options, picks, strict=True)) <= budget + 1e-9


def test_a_bound_on_the_drop_keeps_in_float_what_breaks_it():
    """The metric: minus the error, so that the bound asks for more than integers everywhere can give."""
    graph = make_graph(outlier=200)
    statistics, judge = learn(graph), judge_of(graph)
    trial = replace(judge, metric=lambda outputs: -float(np.abs(outputs - judge.wanted).max()))
    everywhere = quantize_post_training(graph, statistics, judge, HALF_AS_DEAR, Quantization(method="minmax"))
    lost = -100 * trial.score(trial.outputs(everywhere.graph))
    bound = lost / 20
    held = quantize_post_training(
        graph, statistics, judge, HALF_AS_DEAR, Quantization(method="minmax", max_drop=bound), trial=trial
    )
    assert held.chosen["first"].kind == FLOAT
    assert held.chosen["second"].kind == "minmax"
    assert -100 * trial.score(trial.outputs(held.graph)) <= bound
    with pytest.raises(UsageError, match="labelled"):
        quantize_post_training(graph, statistics, judge, HALF_AS_DEAR, Quantization(max_drop=1.0))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("gram", [False, True], ids=["nearest", "gptq"])
def test_weights_in_blocks_compute_what_their_integers_stand_for(bits, gram):
    graph, feeds = make_graph(), make_feeds(6, seed=2)
    statistics = learn(graph, gram=True) if gram else None
    made = quantize_weights(graph, bits=bits, statistics=statistics)
    assert [node.op_type for node in made.graph.node].count("MatMulNBits") == 2
    by_hand = onnx.ModelProto()
    by_hand.CopyFrom(graph)
    for product in find_matmuls(graph):
        known = (
            None if statistics is None else hessian(statistics[product.source].gram, statistics[product.source].tokens)
        )
        values = round_blocks(product.weight, bits, known).floats()
        (tensor,) = [tensor for tensor in by_hand.graph.initializer if tensor.name == product.matrix]
        tensor.CopyFrom(numpy_helper.from_array(values, product.matrix))
    wanted = run(by_hand, feeds)
    # The kernel may take activations as INT8 by blocks of 32: a share of the outputs' spread.
    assert np.abs(run(made, feeds) - wanted).max() < 0.01 * np.ptp(wanted)


def test_a_width_that_is_no_multiple_of_the_block_is_padded():
    weight = np.random.default_rng(0).normal(size=(BLOCK + 8, 5)).astype(np.float32)
    weight[:, 4] = 0
    made = round_blocks(weight, 4)
    assert made.scale.shape == (2, 5)
    assert (made.floats()[:, 4] == 0).all()
    for rows in (slice(0, BLOCK), slice(BLOCK, None)):
        block = weight[rows]
        step = np.abs(block).max(axis=0).clip(1e-9) / 7  # symmetric, the extreme on 7: the plainest grid
        plain = np.clip(np.rint(block / step), -7, 7) * step
        assert ((made.floats()[rows] - block) ** 2).sum() <= ((plain - block) ** 2).sum()


def rows_of(count):
    texts = tuple(f"word{index % 7} " * (1 + index % 20) + str(index) for index in range(count))
    return Dataset(
        "memory",
        texts=texts,
        labels=tuple(["rare" if index % 10 == 0 else "often" for index in range(count)]),
        problem="single-label",
    )


@pytest.mark.parametrize("choice", ["random", "length", "label", "diverse"])
def test_samples_are_different_rows_and_the_same_for_the_same_seed(choice):
    rows = rows_of(200)
    chosen = choose_samples(rows, 40, choice, seed=3)
    assert len(set(chosen.texts)) == 40
    assert chosen.texts == choose_samples(rows, 40, choice, seed=3).texts
    assert set(chosen.texts) <= set(rows.texts)
    assert len(choose_samples(rows, 500, choice)) == 200


def test_each_choice_of_samples_does_what_it_says():
    rows = rows_of(200)
    assert choose_samples(rows, 40, "label").labels.count("rare") == 20
    lengths = [len(text) for text in rows.texts]
    chosen = [len(text) for text in choose_samples(rows, 20, "length").texts]
    assert min(chosen) == min(lengths)
    assert max(chosen) == max(lengths)
    firsts = {text.split()[0] for text in choose_samples(rows, 7, "diverse").texts}
    assert len(firsts) >= 6  # seven words there are; words in common make texts alike
    with pytest.raises(CalibrationError, match="labels"):
        choose_samples(Dataset("memory", texts=rows.texts), 8, "label")


@pytest.mark.parametrize(
    ("feeds", "reason"),
    [
        (make_feeds(3), "3 calibration texts"),
        ([], "0 calibration texts"),
        (make_feeds(1) * 20, "only 1 different"),
        (make_feeds(10, low=2, high=4), "tokens together"),
    ],
)
def test_texts_that_teach_too_little_are_refused(feeds, reason):
    graph = make_graph()
    with pytest.raises(CalibrationError, match=reason):
        collect(graph, ["x"], feeds, count=len(feeds))


def test_a_text_that_gives_nan_is_named():
    graph = make_graph()
    (table,) = [tensor for tensor in graph.graph.initializer if tensor.name == "table"]
    values = numpy_helper.to_array(table).copy()
    values[63] = np.nan
    table.CopyFrom(numpy_helper.from_array(values, "table"))
    feeds = [{"input_ids": np.full((1, 10), index)} for index in range(20)]
    feeds[12]["input_ids"][0, 3] = 63
    with pytest.raises(CalibrationError, match=r"text 13: .*not finite"):
        collect(graph, ["x"], feeds, count=20)


def test_memory_does_not_grow_with_the_texts():
    graph = make_graph()

    def size(count):
        statistics = collect(graph, ["x"], iter(make_feeds(count)), count=count)["x"]
        return statistics.histogram.counts.nbytes + statistics.rows.nbytes + statistics.channel_low.nbytes

    assert size(100) == size(400)


def test_a_graph_that_is_quantized_already_is_refused():
    graph = make_graph()
    ranges = dict.fromkeys(("x", "h"), (-4.0, 4.0))
    quantized = quantize_static(graph, QuantizationPlan(ranges=ranges))
    quantized.graph.node.append(helper.make_node("QuantizeLinear", ["logits", "x_scale", "x_zero"], ["again"]))
    with pytest.raises(ModelError, match="quantized already"):
        find_matmuls(quantized)


@pytest.mark.parametrize("values", [{"method": "guess"}, {"rounding": "up"}, {"choice": "best"}, {"max_drop": -1.0}])
def test_settings_that_cannot_be_are_refused(values):
    with pytest.raises(UsageError):
        Quantization(**values)


@pytest.mark.parametrize("choice", ["random", "length", "diverse"])
@pytest.mark.parametrize("kind", ["token-classification", "question-answering", "multiple-choice"])
def test_rows_of_every_task_can_be_chosen_from(kind, choice):
    rows = task_rows.rows_of(kind, 12)
    chosen = choose_samples(rows, 5, choice)
    assert len(chosen) == 5
    assert set(chosen.inputs()) <= set(rows.inputs())
