"""The device that this machine is: a file that is read again, whose figures say whether they were found or measured."""

import sys

import pytest
from fake_nvml import ORIN, RTX, T4, make_pynvml

from edgelm.device import check_precision, load_device
from edgelm.errors import MissingExtraError, OutputExistsError, UsageError, install_extra
from edgelm.hardware import detect
from edgelm.hardware import peak_rates as rates
from edgelm.hardware.busy import Busy
from edgelm.hardware.detect import detect_device
from edgelm.hardware.machine import describe_machine


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products and copies, for a moment; no GPU unless a test brings one."""
    monkeypatch.setattr(rates, "SECONDS", 0.0)
    monkeypatch.setattr(rates, "SIZE", 64)
    monkeypatch.setattr(detect, "copy_mb", lambda memory_gb: 4)
    monkeypatch.setattr(detect, "look", lambda: Busy(cores=2, load=0.1, before=0.02))
    monkeypatch.setitem(sys.modules, "pynvml", make_pynvml())


def test_the_file_is_the_machine_and_is_read_again(tmp_path) -> None:
    made = detect_device(tmp_path / "mine.yaml")
    machine = describe_machine()
    device = load_device(tmp_path / "mine.yaml")
    assert device == made.device
    assert (device.name, device.title, device.kind) == ("mine", machine.cpu, "cpu")
    assert (device.cores, device.instructions, device.memory_gb) == (
        machine.cores,
        machine.instructions,
        machine.memory_gb,
    )
    assert device.bandwidth_gb_s and device.bandwidth_gb_s > 0
    assert set(device.compute) == {"fp32", "int8"}
    assert device.storage.endswith(" GB")
    check_precision(device, "int8")
    assert made.notes == ()
    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"# {machine.cpu}, as `edgelm devices detect` found it.")
    assert "\nprecisions: [fp32, fp16," in text


def test_measured_figures_say_so_and_the_others_do_not(tmp_path) -> None:
    sources = detect_device(tmp_path / "mine.yaml", threads=1).device.sources
    measured = {
        name for name, source in sources.items() if source.startswith("measured by `edgelm devices detect` on ")
    }
    assert measured == {"bandwidth_gb_s", "compute"}
    assert all(
        source.startswith("found by `edgelm devices detect` on ")
        for name, source in sources.items()
        if name not in measured
    )
    assert all("1 threads" in sources[name] for name in measured)


def test_a_busy_machine_is_said_in_the_file_and_to_the_user(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "look", lambda: Busy(cores=2, load=3.0, before=1.4))
    made = detect_device(tmp_path / "mine.yaml")
    assert made.device.sources["compute"].endswith("while others used 1.4 of 2 cores")
    assert "idle" in " ".join(made.notes)


def test_gpus_stand_beside_the_cpu_with_the_command_that_describes_them(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", make_pynvml(RTX, T4))
    made = detect_device(tmp_path / "mine.yaml")
    assert made.device.kind == "cpu"
    assert [gpu.partition(",")[0] for gpu in load_device(made.path).gpus] == ["NVIDIA GeForce RTX 3060", "Tesla T4"]
    assert any("--gpu 1" in note for note in made.notes)


@pytest.mark.parametrize(
    ("gpu", "kind", "memory", "precisions", "first"),
    [
        (RTX, "gpu", 12.9, ("fp32", "fp16", "bf16", "int8"), "tensorrt-rtx"),
        (T4, "gpu", 16.1, ("fp32", "fp16", "int8"), "tensorrt"),
        (ORIN, "jetson", None, ("fp32", "fp16", "bf16", "int8"), "tensorrt"),
    ],
    ids=["rtx", "t4", "orin"],
)
def test_a_gpu_is_a_device_by_what_its_driver_says(
    tmp_path, monkeypatch: pytest.MonkeyPatch, gpu, kind, memory, precisions, first
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", make_pynvml(gpu))
    made = detect_device(tmp_path / "card.yaml", gpu=0)
    device = load_device(made.path)
    assert (device.kind, device.precisions, device.runtimes[0]) == (kind, precisions, first)
    assert device.memory_gb == (memory or describe_machine().memory_gb)
    assert device.compute_capability == ".".join(map(str, gpu["capability"]))
    assert device.software["cuda"].startswith("up to 1")
    assert not device.compute
    assert not device.bandwidth_gb_s
    assert all("NVML" in source for source in device.sources.values())


def test_a_gpu_that_is_not_there_is_answered_with_those_that_are(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", make_pynvml(RTX))
    with pytest.raises(UsageError, match="there is no GPU 1") as refused:
        detect_device(tmp_path / "card.yaml", gpu=1)
    assert "0: NVIDIA GeForce RTX 3060" in refused.value.hint
    assert not (tmp_path / "card.yaml").exists()


def test_without_the_package_the_cpu_is_described_and_a_gpu_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    made = detect_device(tmp_path / "mine.yaml")
    assert install_extra("gpu") in " ".join(made.notes)
    assert not made.device.gpus
    with pytest.raises(MissingExtraError):
        detect_device(tmp_path / "card.yaml", gpu=0)


def test_a_file_is_replaced_only_when_asked_and_before_anything_is_measured(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("my work")
    monkeypatch.setattr(detect, "measure_bandwidth", lambda **options: pytest.fail("measured"))
    with pytest.raises(OutputExistsError):
        detect_device(tmp_path / "mine.yaml")
    monkeypatch.setattr(detect, "measure_bandwidth", lambda **options: 10.0)
    detect_device(tmp_path / "mine.yaml", overwrite=True)
    assert load_device(tmp_path / "mine.yaml").bandwidth_gb_s == 10.0


def test_a_folder_is_refused_even_to_be_replaced(tmp_path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        detect_device(tmp_path, overwrite=True)
    assert tmp_path.is_dir()
