"""A reader that goes away, a full disk behind stdout and a closed one end in the documented way, not in a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import make_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("closed") / "b")


def run(*arguments, **streams):
    command = [sys.executable, "-m", "edgelm", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120, **streams)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no disk that is always full")
@pytest.mark.parametrize("arguments", [["verify"], ["verify", "--json"], ["inspect"]])
def test_a_full_disk_behind_stdout_is_said(folder, arguments):
    with Path("/dev/full").open("w") as full:
        result = run(*arguments, folder, stdout=full)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: the output cannot be written: No space left on device.")
    assert "Traceback" not in result.stderr


def test_a_reader_that_has_enough_ends_the_command_without_a_word(folder, tmp_path):
    (tmp_path / "texts.txt").write_text("a good film\n" * 5000)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        result = run("run", folder, "--file", tmp_path / "texts.txt", "--json", stdout=stream)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor as a shell does")
def test_a_closed_stdout_is_nothing_to_write_to(folder):
    command = f'exec "$0" -m edgelm verify "{folder}" >&-'
    result = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
