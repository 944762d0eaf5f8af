"""A process that loads a bundle opens no socket and leaves no file behind: nothing is told to anybody."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bundles import make_bundle

SILENT = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
ANSWER = (
    "import sys; from edgelm.runtime import load; load(sys.argv[1])('a good film'); print('done', flush=True); "
    "sys.stdin.read()"
)
SCRIPT = (
    "import runpy, sys; path = sys.argv[1] + '/run.py'; sys.argv = [path, 'a good film']\n"
    "try: runpy.run_path(path, run_name='__main__')\n"
    "except SystemExit: pass\n"
    "print('done', flush=True); sys.stdin.read()"
)
GRAPH = (
    "import sys; from edgelm.graph.session import make_plain_session; import onnx\n"
    "make_plain_session(onnx.load(sys.argv[1] + '/model.onnx')); print('done', flush=True); sys.stdin.read()"
)
BARE = "import onnxruntime; print('done', flush=True); import sys; sys.stdin.read()"


def watch(code, bundle, home, seconds):
    """What a process has written under its home, and the sockets that it has open, after some seconds."""
    home.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in (*SILENT, "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(bundle)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment | {"HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        text=True,
    )
    try:
        for line in process.stdout:
            if line == "done\n":
                break
        time.sleep(seconds)
        open_files = (
            [str(entry.readlink()) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
            if Path("/proc").is_dir()
            else []
        )
    finally:
        process.communicate()
    assert process.returncode == 0
    files = [path.relative_to(home).as_posix() for path in home.rglob("*") if not path.is_dir()]
    return files, [name for name in open_files if name.startswith("socket:")]


@pytest.mark.parametrize("code", [ANSWER, SCRIPT, GRAPH], ids=["load", "run.py", "graph"])
def test_a_process_that_loads_a_bundle_writes_no_file_and_opens_no_socket(tmp_path, code):
    assert watch(code, make_bundle(tmp_path / "b"), tmp_path / "home", seconds=2) == ([], [])


def test_the_watch_would_see_what_onnxruntime_does_by_itself(tmp_path):
    import onnxruntime

    if not hasattr(onnxruntime, "disable_telemetry_events"):
        pytest.skip("this onnxruntime has no telemetry")
    files, _ = watch(BARE, tmp_path, tmp_path / "home", seconds=0)
    if not files:
        pytest.skip("this build of onnxruntime has no telemetry")
    assert any("onnxruntime" in name for name in files)


@pytest.mark.parametrize("given", [None, "", "0", "1"])
def test_who_decided_about_telemetry_is_obeyed(given):
    code = f"import os, edgelm; print([os.environ[name] for name in {SILENT!r}])"
    environment = {name: value for name, value in os.environ.items() if name not in SILENT}
    if given is not None:
        environment |= dict.fromkeys(SILENT, given)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == str([given or "1"] * 3)
