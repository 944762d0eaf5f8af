"""What else a machine does: counted by its system without ours, and said in the same words by profiles, latency tables
and devices."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bundles import make_bundle
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.hardware import busy as module
from edgelm.hardware.busy import Busy, judge, look, read_counters, read_mhz

TICK = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def two_cores(monkeypatch):
    """This process may use cores 0 and 2."""
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: {0, 2}, raising=False)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def machine(root: Path, *, busy: int, stolen: int = 0, throttled: int = 0, mhz: int = 3000) -> Path:
    """A /proc and /sys whose cores 0 and 2 were in use for so many seconds together; core 1 is none of ours."""
    row = f"{busy * TICK // 2} 0 0 900 50 0 0 {stolen * TICK // 2} 0 0"
    write(
        root / "proc/stat",
        f"cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 {row}\ncpu1 {7 * TICK} 0 0 0 0 0 0 0 0 0\ncpu2 {row}\nctxt 5\n",
    )
    write(root / "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", f"{throttled}\n")
    write(root / "sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq", f"{mhz * 1000}\n")
    return root


def test_cpu_seconds_are_those_of_our_cores(two_cores, tmp_path):
    found = read_counters(machine(tmp_path, busy=10, stolen=2, throttled=3))
    assert (found["cores"], found["busy_s"], found["stolen_s"], found["slowed"]) == (2, 10.0, 2.0, 3)
    assert read_mhz(tmp_path) == 3000.0


def test_a_system_that_counts_nothing_is_not_said_to_be_idle(two_cores, tmp_path):
    """Some sandboxes have a /proc/stat of zeros; another system has none. Then the load average speaks."""
    write(tmp_path / "proc/stat", "cpu0 0 0 0 0 0 0 0 0 0 0\ncpu2 0 0 0 0 0 0 0 0 0 0\n")
    assert read_counters(tmp_path)["busy_s"] is None
    assert read_counters(tmp_path / "none")["busy_s"] is None
    assert read_mhz(tmp_path) is None
    assert "load of 3.0 on 2 cores" in Busy(2, 3.0, None).warnings()[0]
    assert Busy(2, 0.5, None).warnings() == Busy(2, None, None).warnings() == ()


def reading(at: float, busy_s: float, **more):
    return {"at": at, "cores": 2, "load": 0.4, "busy_s": busy_s, "stolen_s": 0.0, "slowed": 0} | more


def test_our_own_work_is_not_others():
    """In 10 s two cores worked 12 s, of which we did 11.8."""
    found = judge([reading(0, 50), reading(0.5, 50.01), reading(10.5, 62.01)], [0.01, 11.8])
    assert (found.before, found.during) == (0.0, pytest.approx(0.02))
    assert found.warnings() == ()


def test_others_before_or_during_are_said_with_how_much():
    (before,) = judge([reading(0, 50), reading(0.5, 50.5), reading(10.5, 60.5)], [0.0, 10.0]).warnings()
    (during,) = judge([reading(0, 50), reading(0.5, 50.0), reading(10.5, 69.0)], [0.0, 10.0]).warnings()
    assert "others used 1.0 of 2 cores" in before
    assert "others used 0.9 of 2 cores" in during


def test_a_measurement_too_short_to_count_is_judged_with_the_look_before_it():
    """0.1 s: ten of the system's hundredths."""
    assert judge([reading(0, 50), reading(0.5, 50.0), reading(0.6, 50.12)], [0.0, 0.1]).during == pytest.approx(0.03)


def test_stolen_time_heat_and_falling_frequencies_are_said():
    last = reading(10.5, 60.0, stolen_s=2.0, slowed=4)
    stolen, heat, slower = judge(
        [reading(0, 50), reading(0.5, 50), last], [0.0, 10.0], [3600.0, 1800.0, 3500.0]
    ).warnings()
    assert "gave 0.2 of its 2 cores" in stolen
    assert "heat" in heat
    assert "3600 to 1800 MHz" in slower
    assert judge([reading(0, 50), reading(0.5, 50), reading(10.5, 60)], [0.0, 10.0], [3600.0, 3500.0]).warnings() == ()


@pytest.fixture
def busy_neighbours():
    """As many processes as there are cores, busy until the test ends."""
    code = "import time\nend = time.time() + 60\nwhile time.time() < end: pass"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(len(os.sched_getaffinity(0)))]
    time.sleep(0.2)
    yield
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="counts CPU time as Linux does")
def test_a_profile_beside_busy_processes_says_so_everywhere_and_succeeds(tmp_path, busy_neighbours):
    assert look(0.3).others
    bundle, page = make_bundle(tmp_path / "b"), tmp_path / "p.html"
    words = ["profile", str(bundle), "--runs", "60", "--loads", "1", "--threads", "1"]
    shown = CliRunner().invoke(
        app, [*words, "--compare", str(bundle), "--html", str(page), "--output", str(tmp_path / "p.json")]
    )
    assert shown.exit_code == 0, shown.output
    values = json.loads((tmp_path / "p.json").read_text())
    for profile in values["profiles"]:
        assert profile["machine"]["busy"]["during"] > 0.3
        assert any("others used" in sentence for sentence in profile["warnings"])
    assert shown.stdout.count("Warning: Measured while others used") == 1
    assert "others used" in page.read_text()
    printed = CliRunner().invoke(app, [*words, "--json"])
    assert "Warning: Measured while others used" in printed.stderr
    assert any("others used" in sentence for sentence in json.loads(printed.stdout)["profiles"][0]["warnings"])
