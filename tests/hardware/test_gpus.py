"""What a driver says of its GPUs, by a stand-in for pynvml."""

import sys

import pytest
from fake_nvml import ORIN, RTX, T4, make_pynvml

from edgelm.errors import MissingExtraError, ResourceError, install_extra
from edgelm.hardware.gpus import find_gpus


def use(monkeypatch: pytest.MonkeyPatch, *gpus, **options):
    module = make_pynvml(*gpus, **options)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_gpus_are_described_in_the_drivers_order(monkeypatch: pytest.MonkeyPatch) -> None:
    module = use(monkeypatch, RTX, T4)
    first, second = find_gpus()
    assert (first.name, first.memory_gb, first.compute_capability, first.driver, first.cuda) == (
        "NVIDIA GeForce RTX 3060",
        12.9,
        "8.6",
        "580.95.05",
        "13.0",
    )
    assert (second.name, second.memory_gb, second.compute_capability) == (
        "Tesla T4",
        16.1,
        "7.5",
    )  # older packages answer in bytes
    assert str(first) == "NVIDIA GeForce RTX 3060, 12.9 GB, compute capability 8.6, driver 580.95.05"
    assert module.opened == 0


def test_what_a_driver_does_not_answer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ORIN)
    (gpu,) = find_gpus()
    assert gpu.memory_gb is None
    assert str(gpu) == "Orin (nvgpu), compute capability 8.7, driver 540.4.0"


def test_no_gpus_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    assert find_gpus() == ()


def test_a_missing_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, works=False)
    with pytest.raises(ResourceError, match="NVML Shared Library Not Found") as refused:
        find_gpus()
    assert refused.value.hint


def test_a_gpu_without_a_name_is_said_and_the_library_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = use(monkeypatch, {})
    with pytest.raises(ResourceError, match="Not Supported"):
        find_gpus()
    assert module.opened == 0


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MissingExtraError, match="nvidia-ml-py") as refused:
        find_gpus()
    assert refused.value.hint == install_extra("gpu")
