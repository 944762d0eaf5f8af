"""Times from work: known answers for a made-up device, and what holds for every device that has figures."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.budgeting.footprint import estimate
from edgelm.cost import roofline
from edgelm.cost.roofline import Constants, is_compiled, load_constants, peak_rate, price, total_ms
from edgelm.cost.synthetic import encoder_work
from edgelm.cost.work import Work
from edgelm.device import Device, load_device
from edgelm.errors import UsageError
from edgelm.files.shipped import shipped_names
from edgelm.latency_table import read_latency_table
from edgelm.shapes import LayerShape, ModelSizes

SIZES = ModelSizes(layers=2, hidden=64, heads=4, ffn=256, vocabulary=50, positions=64)
CONSTANTS = Constants(
    launch_us=5.0,
    call_us=100.0,
    memory=0.5,
    shares={"int8": 0.25, "attention": 0.1},
    band=(0.5, 2.0),
    provenance="made up",
)
ESTIMABLE = [
    name
    for name in shipped_names("devices")
    if load_device(name).compute.get("int8") and load_device(name).bandwidth_gb_s
]


def device(**changes):
    values = {
        "name": "d",
        "title": "D",
        "kind": "gpu",
        "arch": "any",
        "precisions": ["int8"],
        "runtimes": ["tensorrt"],
        "bandwidth_gb_s": 100,
    }
    figures = {"compute": {"int8": 8.0, "fp32": 1.0}, "sources": {"bandwidth_gb_s": "made up", "compute": "made up"}}
    return Device.model_validate(values | figures | changes)


def test_the_longer_of_operations_and_bytes_and_a_launch():
    """2·10⁹ operations at a quarter of 8·10¹² a second: 1 ms. 10⁸ bytes at half of 10¹¹: 2 ms. A launch: 5 µs."""
    bytes_heavy = Work("MatMul", "product", "int8", 2e9, 6e7, 4e7, 1)
    operations_heavy = Work("MatMul", "product", "int8", 2e9, 1e6, 0, 1)
    inside = Work("Gelu", "pointwise", "fp32", 1e6, 0, 0, 0)
    costs = price([bytes_heavy, operations_heavy, inside], device(), CONSTANTS)
    assert [cost.ms for cost in costs] == pytest.approx([2.005, 1.005, 0.001])
    assert total_ms(costs, CONSTANTS) == pytest.approx(3.011 + 0.1)


def test_rates_that_a_device_does_not_say_follow_from_others():
    assert peak_rate(device(), "fp16") == 4.0
    assert peak_rate(device(compute={"int8": 16.0}), "fp32") == 1.0
    assert peak_rate(device(kind="cpu"), "fp16") == 1.0  # as FP32, on onnxruntime's CPU
    assert peak_rate(device(kind="cpu"), "int4") == 8.0


@pytest.mark.parametrize("changes", [{"compute": {"fp32": 1.0}}, {"bandwidth_gb_s": None}])
def test_a_figure_that_is_missing_is_named(changes):
    with pytest.raises(UsageError, match="published figures") as caught:
        price([Work("MatMul", "product", "int8", 1, 1, 1, 1)], device(**changes), CONSTANTS)
    assert "devices detect" in caught.value.hint


@pytest.mark.parametrize("kind", ["cpu", "gpu", "jetson"])
def test_the_constants_that_are_shipped_are_sane(kind):
    constants = load_constants(kind)
    assert 0.1 < constants.launch_us < 50
    assert all(0 < share < 1.5 for share in constants.shares.values())
    assert 0.2 < constants.band[0] < constants.band[1] < 5.0
    assert "held out" in constants.provenance
    assert set(json.loads(roofline.FILE.read_text())) == {"cpu", "gpu"}


@pytest.mark.parametrize("name", ESTIMABLE)
def test_a_table_of_every_device_that_has_figures(tmp_path, name):
    table = estimate(load_device(name), SIZES, "int8", 16)
    assert table.source == "estimated"
    assert table.band == load_constants(load_device(name).kind).band
    for costs in (table.attention, table.ffn):
        assert costs[0] == 0.0
        # On a CPU a matrix becomes integers only from some size on, and is faster then.
        assert not is_compiled(load_device(name)) or list(costs.values()) == sorted(costs.values())
    table.save(tmp_path / "t.json")
    assert read_latency_table(tmp_path / "t.json") == table


@settings(max_examples=15, deadline=None)
@given(
    tokens=st.integers(2, 60),
    heads=st.integers(0, 3),
    ffn=st.integers(0, 7),
    name=st.sampled_from(ESTIMABLE),
    precision=st.sampled_from(["fp16", "int8", "int4"]),
)
def test_more_never_takes_less_time(tokens, heads, ffn, name, precision):
    where = load_device(name)
    constants = load_constants(where.kind)

    def ms(tokens, heads, ffn):
        works = encoder_work(
            SIZES, [LayerShape(heads, 32 * ffn)] * 2, precision, batch=1, sequence=tokens, compiled=True
        )
        return total_ms(price(works, where, constants), constants)

    least = ms(tokens, heads, ffn)
    assert min(ms(tokens + 1, heads, ffn), ms(tokens, heads + 1, ffn), ms(tokens, heads, ffn + 1)) >= least > 0
