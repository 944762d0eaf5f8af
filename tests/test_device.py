"""Device files: what ships, and what is said of a wrong one."""

from pathlib import Path

import pytest

from edgelm.device import RUNTIMES, check_precision, load_device
from edgelm.errors import DeviceError, UsageError
from edgelm.files.shipped import shipped_names
from edgelm.runtime.provider import EXECUTION_PROVIDERS

GOOD = """\
name: mine
title: my board
kind: cpu
arch: aarch64
memory_gb: 8
precisions: [fp32, int8]
runtimes: [onnxruntime-cpu]
sources:
  memory_gb: "the box it came in"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", shipped_names("devices"))
def test_every_shipped_device_is_valid_and_named_like_its_file(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert device.runtimes
    if device.kind != "cpu":
        assert "int8-dynamic" not in device.precisions
        assert device.memory_gb and device.bandwidth_gb_s and device.compute_capability
        assert device.software["cuda"]
    if device.kind == "jetson":
        assert device.power_modes_w and device.storage and device.software["jetpack"]
    figures = device.model_dump(exclude_defaults=True).keys() - {
        "name",
        "title",
        "kind",
        "arch",
        "description",
        "instructions",
        "precisions",
        "runtimes",
    }
    assert figures - {"sources"} == device.sources.keys()
    assert set(device.compute) <= {"bf16", *device.precisions}


BOARDS = [
    "jetson-orin-nano",
    "jetson-orin-nx",
    "jetson-agx-orin",
    "jetson-agx-thor",
    "jetson-xavier-nx",
    "raspberry-pi-5",
]
GPUS = ["rtx-3060", "rtx-4070", "rtx-4090", "rtx-5090", "t4", "l4", "l40s", "a100", "h100"]


@pytest.mark.parametrize(
    "expected", ["cpu", "x86-vnni", "x86-avx2", "x86-laptop", "x86-server", "arm64", *BOARDS, *GPUS]
)
def test_the_promised_devices_ship(expected: str) -> None:
    assert expected in shipped_names("devices")


@pytest.mark.parametrize("name", [*BOARDS, *GPUS])
def test_rates_do_not_fall_as_precision_falls(name: str) -> None:
    """Dense figures beside sparse ones, or operations beside multiplications, would break the order or the factors of
    two."""
    rates = load_device(name).compute
    assert rates
    order = [rates[precision] for precision in ("fp32", "fp16", "int8") if precision in rates]
    assert order == sorted(order)
    if "fp16" in rates and "int8" in rates:
        assert rates["int8"] / rates["fp16"] == pytest.approx(2, rel=0.03)


def test_a_device_of_ones_own_is_read_and_cannot_be_changed(tmp_path: Path) -> None:
    device = load_device(write(tmp_path, GOOD))
    assert (device.name, device.memory_gb, device.precisions) == ("mine", 8.0, ("fp32", "int8"))
    with pytest.raises(ValueError, match="frozen"):
        device.memory_gb = 16  # type: ignore[misc]


@pytest.mark.parametrize(
    ("before", "after", "line", "words"),
    [
        ("memory_gb: 8\n", "memory_gb: 8\nmemroy: 8\n", 6, "unknown key 'memroy'"),
        ("memory_gb: 8\n", "memory_gb: -8\n", 5, "memory_gb is -8"),
        ("memory_gb: 8\n", "memory_gb: lots\n", 5, "memory_gb is 'lots'"),
        ("kind: cpu", "kind: abacus", 3, "kind is 'abacus'"),
        ("[fp32, int8]", "[fp32, int3]", 6, "precisions[1] is 'int3'"),
        ("[fp32, int8]", "[]", 6, "precisions is"),
        ("[onnxruntime-cpu]", "[onnxruntime-openvno, cpu]", 7, "unknown: onnxruntime-openvno; known are tensorrt, "),
        ("title: my board\n", "", 1, "title is missing"),
        ("name: mine", "name: [mine", 2, "not YAML"),
        ("memory_gb: 8\n", "memory_gb: 8\nbandwidth_gb_s: 17\n", 1, "no source is given for bandwidth_gb_s"),
        ("memory_gb: 8\n", "memory_gb: 8\nstorage: a card\n", 1, "no source is given for storage"),
    ],
    ids=[
        "unknown-key",
        "negative",
        "not-a-number",
        "no-such-kind",
        "no-such-precision",
        "no-precision",
        "no-such-runtime",
        "missing",
        "not-yaml",
        "no-source",
        "no-source-of-storage",
    ],
)
def test_a_wrong_device_is_refused_with_its_line(
    tmp_path: Path, before: str, after: str, line: int, words: str
) -> None:
    assert before in GOOD
    path = write(tmp_path, GOOD.replace(before, after))
    with pytest.raises(DeviceError) as refused:
        load_device(path)
    assert refused.value.message.startswith(f"{path}:{line}: ")
    assert words in refused.value.message
    assert refused.value.hint
    assert refused.value.exit_code == 4


@pytest.mark.parametrize("content", [b"", b"- a\n- b\n", b"name: \xff\xfe"], ids=["empty", "a-list", "not-utf-8"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(DeviceError, match=r"mine\.yaml"):
        load_device(path)


def test_devices_may_prefer_whatever_the_runtime_can_take() -> None:
    assert list(RUNTIMES) == list(EXECUTION_PROVIDERS)


def test_an_unknown_name_is_answered_with_the_shipped_ones() -> None:
    with pytest.raises(UsageError, match="x86-vnni") as refused:
        load_device("abacus")
    assert refused.value.exit_code == 2


def test_a_precision_that_the_device_lacks_is_refused_by_name() -> None:
    check_precision(load_device("rtx-4090"), "fp16")
    with pytest.raises(UsageError, match="does not run int8-dynamic"):
        check_precision(load_device("rtx-4090"), "int8-dynamic")
