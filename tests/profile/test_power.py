"""Power: found where a machine shows it, added up once, absent where nothing can be read."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from bundles import make_bundle
from fake_nvml import RTX, make_pynvml
from generator_bundles import make_generator_bundle
from watchers import WatcherLine

from edgelm.hardware.power_sensors import Rail, find_rails, read_tegrastats
from edgelm.profile.host import LocalHost
from edgelm.profile.monitor import Recording, Watcher, mean_power
from edgelm.profile.pipeline import profile
from edgelm.profile.power import power_use
from edgelm.profile.result import Profile
from edgelm.report import render_html, render_markdown


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", make_pynvml(works=False))


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")


def watts(rails: list[Rail]) -> dict[str, float]:
    return {rail.name: rail.read() for rail in rails}


def test_an_orins_rails_are_parts_of_its_input(tmp_path):
    """JetPack 5 and 6: two of hwmon's chips, one of them another kind."""
    write(tmp_path / "sys/class/hwmon/hwmon0", name="nvme", in1_label="Composite")
    rails = {"in1_label": "VDD_IN", "in2_label": "VDD_CPU_GPU_CV", "in3_label": "VDD_SOC"}
    volts = {"in1_input": 4960, "in2_input": 4960, "in3_input": 4952}
    amperes = {"curr1_input": 1000, "curr2_input": 250, "curr3_input": 300}
    write(
        tmp_path / "sys/class/hwmon/hwmon1",
        name="ina3221",
        in7_label="sum of shunt voltages",
        **rails,
        **volts,
        **amperes,
    )
    found = find_rails(tmp_path)
    assert watts(found) == pytest.approx({"VDD_IN": 4.96, "VDD_CPU_GPU_CV": 1.24, "VDD_SOC": 1.4856})
    assert [rail.name for rail in found if not rail.part] == ["VDD_IN"]
    assert {rail.source for rail in found} == {"INA3221"}


def test_a_board_without_a_rail_for_its_input_is_the_sum_of_its_rails(tmp_path):
    write(
        tmp_path / "sys/class/hwmon/hwmon3", name="ina3221", in1_label="VDD_GPU_SOC", in1_input=12000, curr1_input=500
    )
    write(tmp_path / "sys/class/hwmon/hwmon4", name="ina3221", in1_label="VDD_CPU_CV", in1_input=12000, curr1_input=250)
    assert [rail.part for rail in find_rails(tmp_path)] == [False, False]
    assert Recording(find_rails(tmp_path)).stop()["mean_w"] == pytest.approx(9.0)


def test_rails_of_older_jetpacks(tmp_path):
    write(tmp_path / "sys/bus/i2c/drivers/ina3221x/7-0040/iio:device0", rail_name_0="VDD_IN", in_power0_input=3210)
    assert watts(find_rails(tmp_path)) == {"VDD_IN": 3.21}


def test_tegrastats_serves_where_sysfs_may_not_be_read(tmp_path, monkeypatch):
    script = tmp_path / "tegrastats"
    script.write_text(
        "#!/bin/sh\nwhile echo 'RAM 4722/7337MB CPU [1%@729] VDD_IN 4512mW/4498mW VDD_SOC 1440mW/1433mW'; do sleep "
        "0.05; done\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = find_rails(tmp_path)
    assert watts(found) == {"VDD_IN": 4.512, "VDD_SOC": 1.44}
    assert found[0].source == "tegrastats"


def test_every_way_in_which_tegrastats_says_power():
    assert read_tegrastats("RAM 1/2MB (lfb 3x4MB) SWAP 0/3668MB GPU 465/465 CPU 1242/1240 SYS5V 1492/1492") == {
        "GPU": 0.465,
        "CPU": 1.242,
        "SYS5V": 1.492,
    }
    assert read_tegrastats("RAM 1/2MB POM_5V_IN 2532/2698 POM_5V_GPU 40/40") == {"POM_5V_IN": 2.532, "POM_5V_GPU": 0.04}
    assert read_tegrastats("RAM 4722/7337MB EMC_FREQ 0%") == {}


def test_rapl_adds_packages_and_memory_but_not_their_parts(tmp_path):
    domains = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:1": "psys"}
    for folder, name in domains.items():
        write(tmp_path / "sys/class/powercap" / folder, name=name, energy_uj=2_000_000, max_energy_range_uj=10_000_000)
    found = find_rails(tmp_path)
    assert watts(found) == {"package-0": 2.0, "core-0": 2.0, "dram-0": 2.0, "psys": 2.0}  # joules so far
    assert {rail.name for rail in found if not rail.part} == {"package-0", "dram-0"}


def test_a_counter_that_wraps_goes_on():
    rail = Rail("RAPL", "package-0", lambda: 0.0, counts=True, wraps_at=100.0)
    assert mean_power(rail, [90.0, 98.0, 4.0, 10.0], seconds=2.0) == pytest.approx(10.0)


def test_a_gpu_counts_its_energy_or_says_its_power(monkeypatch):
    module = make_pynvml(RTX, RTX)

    def energy(handle: int) -> int:
        if handle:
            raise module.NVMLError("Not Supported")
        return 5000

    monkeypatch.setattr(module, "nvmlDeviceGetTotalEnergyConsumption", energy, raising=False)
    monkeypatch.setattr(module, "nvmlDeviceGetPowerUsage", lambda handle: 12_000, raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    found = find_rails(Path("/nothing"))
    assert [(rail.name, rail.read(), rail.counts) for rail in found] == [("gpu-0", 5.0, True), ("gpu-1", 12.0, False)]


def test_nothing_is_found_where_nothing_may_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    write(tmp_path / "sys/class/powercap/intel-rapl:0", name="package-0")  # energy_uj of another user
    assert find_rails(tmp_path) == []
    assert Recording([]).stop()["rails"] == {}


def test_a_sensor_that_goes_away_is_left_out():
    def broken() -> float:
        raise OSError("gone")

    found = Recording([Rail("INA3221", "VDD_IN", broken), Rail("INA3221", "VDD_SOC", lambda: 2.0)]).stop()
    assert found["rails"] == {"VDD_SOC": 2.0}


class Powered(LocalHost):
    """This machine, with a package that draws 5 W."""

    def start(self, module, *, threads=None, python=None):
        if module != "edgelm.profile.monitor":
            return super().start(module, threads=threads)
        return WatcherLine(
            Watcher(lambda: [Rail("RAPL", "package-0", lambda: 5 * time.perf_counter(), counts=True)], list)
        )


class Dark(Powered):
    """This machine, without a sensor."""

    def start(self, module, *, threads=None, python=None):
        return (
            WatcherLine(Watcher(list, list))
            if module == "edgelm.profile.monitor"
            else super().start(module, threads=threads)
        )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("power") / "tiny.edge")


def test_a_profile_has_the_power_and_the_energy_of_a_call(bundle):
    (found,) = profile(bundle, threads=1, runs=10, loads=1, place=Powered())
    power = found.power
    assert power is not None
    assert power.source == "RAPL"
    assert (power.busy_w, power.idle_w) == (pytest.approx(5, rel=0.01), pytest.approx(5, rel=0.01))
    assert power.mj_per_call == pytest.approx(5000 * power.seconds / power.calls, rel=0.01)
    values = json.loads(json.dumps(found.to_dict()))
    assert Profile.from_dict(values).to_dict() == values
    assert "mJ per call" in render_markdown([values])


def test_energy_is_that_of_a_token_where_a_model_writes(tmp_path):
    writer = make_generator_bundle(tmp_path / "writer", "llama")
    lengths = {"contexts": [8, 64], "prompt_lengths": [16]}
    (found,) = profile(writer, threads=1, runs=4, loads=1, place=Powered(), **lengths)
    power = found.power
    assert power.busy_w == pytest.approx(5, rel=0.01)
    # A second of single tokens behind the first context: each takes 5 W for as long as it takes, and its line of JSON.
    assert power.mj_per_call == pytest.approx(5000 * power.seconds / power.calls, rel=0.01)
    assert power.calls >= 20
    for text in (render_markdown([found.to_dict()]), render_html([found.to_dict()])):
        assert "mJ per token" in text


def test_power_is_absent_without_a_sensor(bundle):
    (found,) = profile(bundle, threads=1, runs=10, loads=1, place=Dark())
    assert found.power is None
    assert "mJ per call" not in render_markdown([found.to_dict()])


def test_an_idle_card_is_not_what_a_cpu_draws():
    """Where cards alone are looked at, a model that the CPU runs has no figure, rather than that of a card at rest."""
    idle, busy = ({"rails": {"gpu-0": watt}, "mean_w": watt, "seconds": 2.0, "samples": 40} for watt in (70.0, 90.0))
    for source, provider, known in (
        ("NVML", "cpu", False),
        ("NVML", "native", False),
        ("NVML", "cuda", True),
        ("NVML", "tensorrt", True),
        ("RAPL + NVML", "cpu", True),
        ("INA3221", "cpu", True),
    ):
        found = power_use(source, idle, busy, 100, provider=provider)
        assert (found is not None) == known, (source, provider)
        assert found is None or found.mj_per_call == pytest.approx(1800)
