"""Memory of the machine: what counts as in use, and what one subject alone adds to it."""

from __future__ import annotations

import json
import sys

import pytest
from bundles import make_bundle
from fake_nvml import ORIN, RTX, make_pynvml
from watchers import WatcherLine

from edgelm.hardware.memory_gauges import Gauge, find_gauges
from edgelm.profile.host import LocalHost
from edgelm.profile.monitor import Recording, Watcher
from edgelm.profile.pipeline import profile
from edgelm.profile.result import Profile
from edgelm.report import render_html, render_markdown

MEMINFO = (
    "MemTotal:        8000000 kB\nMemFree:          500000 kB\nMemAvailable:    6000000 kB\nCached:          5000000 "
    "kB\n"
)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", make_pynvml(works=False))


def test_what_the_system_could_give_to_others_is_not_in_use(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(MEMINFO)
    (gauge,) = find_gauges(tmp_path)
    assert (gauge.source, gauge.name) == ("/proc/meminfo", "system")
    assert (gauge.total_mb, gauge.read()) == (pytest.approx(8192), pytest.approx(2048))  # kB are of 1024 bytes


@pytest.mark.parametrize(
    "content", [None, "MemTotal: 8000000 kB\nMemFree: 1 kB\n", "nothing of the kind"], ids=["none", "old", "other"]
)
def test_a_system_that_does_not_say_it_has_no_gauge(tmp_path, content):
    if content is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "meminfo").write_text(content)
    assert find_gauges(tmp_path) == []


def test_cards_have_memory_of_their_own_and_a_jetson_has_not(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", make_pynvml(RTX, ORIN, RTX))
    found = find_gauges(tmp_path)
    assert [(gauge.source, gauge.name, gauge.total_mb, gauge.read()) for gauge in found] == [
        ("NVML", name, pytest.approx(12884.9, abs=0.1), pytest.approx(536.9, abs=0.1)) for name in ("gpu-0", "gpu-2")
    ]


def test_a_watch_has_the_middle_and_the_most_of_what_it_read():
    values = iter([5.0, 1.0, 9.0])
    watch = Recording(
        [], [Gauge("NVML", "gpu-0", 10.0, lambda: next(values)), Gauge("NVML", "gpu-1", 10.0, lambda: 1 / 0)]
    )
    watch._stopping.set()
    watch._thread.join()
    watch._read()
    assert watch.stop()["memory"] == {"gpu-0": {"median_mb": 5.0, "peak_mb": 9.0}}  # the other one could not be read


class Filling(LocalHost):
    """This machine, of whose memory each subject that is loaded takes 250 MB, and of its GPU's 70."""

    def __init__(self) -> None:
        self.loaded = 0

    def start(self, module, *, threads=None, python=None):
        if module == "edgelm.profile.monitor":
            system = Gauge("/proc/meminfo", "system", 8000.0, lambda: 1000.0 + 250 * self.loaded)
            gpu = Gauge("NVML", "gpu-0", 12000.0, lambda: 500.0 + 70 * self.loaded)
            return WatcherLine(Watcher(list, lambda: [system, gpu]))
        line = super().start(module, threads=threads)
        self.loaded += 1
        close = line.close

        def leave() -> None:
            close()
            self.loaded -= 1

        line.close = leave
        return line


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("memory") / "tiny.edge")


def test_each_subject_is_alone_when_its_memory_is_read(bundle):
    found = profile(bundle, compare=[bundle], threads=1, runs=10, loads=1, place=Filling())
    for entry in found:
        figures = [
            (memory.name, memory.idle_mb, memory.busy_mb, memory.peak_mb, memory.rise_mb) for memory in entry.memory
        ]
        assert figures == [("system", 1000, 1250, 1250, 250), ("gpu-0", 500, 570, 570, 70)]
        assert entry.power is None
    values = json.loads(json.dumps([entry.to_dict() for entry in found]))
    assert [Profile.from_dict(value).to_dict() for value in values] == values
    for page in (render_markdown(values), render_html(values)):
        assert all(
            words in page
            for words in ("system memory MB", "1250 of 8000 (+250)", "GPU memory MB", "570 of 12000 (+70)")
        )


def test_a_profile_of_before_is_read_and_shown_without(bundle):
    (found,) = profile(bundle, threads=1, runs=10, loads=1)
    values = found.to_dict()
    (system,) = values["memory"]
    assert 0 < system["idle_mb"] < system["total_mb"]
    assert 0 < system["busy_mb"] <= system["peak_mb"] < system["total_mb"]
    old = {name: value for name, value in values.items() if name not in ("memory", "provider", "engine", "passed")} | {
        "schema": 1
    }
    assert Profile.from_dict(old).memory == ()
    assert "memory MB |" in render_markdown([values]).replace("peak memory MB", "")
    assert "memory MB |" not in render_markdown([old]).replace("peak memory MB", "")
