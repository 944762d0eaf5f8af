"""The agent of a device: whatever ends it, its folder and its processes are gone."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from edgelm.profile.remote import agent as agent
from edgelm.profile.remote.agent_client import _BOOT


class Device:
    """An agent as SSH would run it."""

    def __init__(self, temporary: Path, *, silence: float = 60) -> None:
        code = Path(agent.__file__).read_text().replace("SILENCE_S = 60", f"SILENCE_S = {silence}")
        self.temporary = temporary
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(temporary)},
        )
        self.write(base64.b64encode(code.encode()) + b"\n")
        self.hello = self.read()

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read(self) -> dict:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def say(self, data: bytes = b"", **values: object) -> None:
        self.write(json.dumps(values).encode() + b"\n" + data)


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path)
    yield made
    made.process.kill()


def test_every_process_there_has_the_telemetry_of_onnxruntime_off(device):
    program = "import os; print(os.environ['ORT_DISABLE_TELEMETRY'], flush=True)"
    device.say(do="start", number=0, command=["-c", program], environment={})
    assert device.read()["line"] == "1"


def start_sleeper(device: Device) -> int:
    """A process that would go on for an hour and hears nothing."""
    program = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(3600)"
    device.say(do="start", number=0, command=["-c", program], environment={})
    return int(device.read()["line"])


def is_gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


def test_the_folder_is_for_this_user_alone(device):
    folder = Path(device.hello["folder"])
    assert folder.parent == device.temporary
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", ["told", "line ends", "terminated", "hung up on"])
def test_whatever_ends_it_nothing_is_left(device, how):
    sleeper = start_sleeper(device)
    device.say(b"x" * 5, do="file", path="a/b/c", size=5)
    device.say(do="copied")
    assert device.read()["trouble"] is None
    if how == "told":
        device.say(do="leave")
        assert device.read() == {"left": True}
    elif how == "terminated":
        device.process.send_signal(signal.SIGTERM)
    else:
        if how == "hung up on":
            device.process.send_signal(signal.SIGHUP)
        device.process.stdin.close()
    assert device.process.wait(20) == 0
    assert list(device.temporary.iterdir()) == []
    assert is_gone(sleeper)


def test_a_line_that_falls_silent_has_ended(tmp_path):
    """The network went away, and neither side was told."""
    device = Device(tmp_path, silence=1)
    sleeper = start_sleeper(device)
    assert device.process.wait(20) == 0
    assert list(tmp_path.iterdir()) == []
    assert is_gone(sleeper)


def test_what_is_compiled_for_a_gpu_goes_with_the_folder(device):
    device.say(
        do="start",
        number=0,
        command=["-c", "import os; print(os.environ['XDG_CACHE_HOME'], os.environ['CUDA_CACHE_PATH'])"],
        environment={},
    )
    assert all(cache.startswith(device.hello["folder"] + "/") for cache in device.read()["line"].split())


def test_a_failed_copy_is_told_once_and_the_rest_is_dropped(device):
    """As on a full disk: here, a file that would have to be where a folder is."""
    device.say(b"1", do="file", path="a/b", size=1)
    device.say(b"2" * 200_000, do="file", path="a", size=200_000)
    device.say(b"3", do="file", path="c", size=1)
    device.say(do="copied")
    assert "directory" in device.read()["trouble"]
    device.say(do="leave")
    assert device.read() == {"left": True}


def test_a_wheel_is_unpacked_as_installers_do(device):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("thing/__init__.py", "")
        archive.writestr("thing-1.data/purelib/thing/more.py", "name = 'more'")
        archive.writestr("thing-1.data/scripts/tool", "")
    content = data.getvalue()
    device.say(content, do="file", path="wheels/thing-1-py3-none-any.whl", size=len(content))
    device.say(do="unpack", path="wheels/thing-1-py3-none-any.whl")
    device.say(do="copied")
    assert device.read()["trouble"] is None
    device.say(do="start", number=0, command=["-c", "import thing.more; print(thing.more.name)"], environment={})
    assert device.read()["line"] == "more"
    assert not [
        path for path in Path(device.hello["folder"]).rglob("*") if path.name == "tool" or path.suffix == ".whl"
    ]


def test_the_end_of_a_processs_errors_is_told(device):
    device.say(do="start", number=0, command=["-c", "import nothing_of_this_name"], environment={})
    told = device.read()
    assert told["ended"] == 1
    assert told["errors"] == "ModuleNotFoundError: No module named 'nothing_of_this_name'"
