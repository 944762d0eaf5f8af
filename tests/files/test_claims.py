"""Two at one output: the second is told who is at it, and one that was killed holds nobody up."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from bundles import make_bundle
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.errors import OutputInUseError, UsageError
from edgelm.files.claims import claim

# Claims what is named, says so, and goes on when it is told.
HOLDER = """
import sys
from edgelm.files.claims import claim
with claim(sys.argv[1]):
    print("claimed", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def held(tmp_path):
    """Starts processes that work on an output."""
    started = []

    def hold(path):
        command = [sys.executable, "-c", HOLDER, str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "claimed\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    make_checkpoint(folder / "model")
    make_checkpoint(folder / "encoder", kind="sentence-embedding")
    make_bundle(folder / "bundle")
    rows = [{"text": text, "label": ["negative", "positive"][index % 2]} for index, text in enumerate(TEXTS * 2)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("command", ["compress", "finetune", "search", "export", "tune"])
def test_the_second_command_at_one_output_is_refused_and_says_who_is_first(files, tmp_path, held, command):
    output, rows = tmp_path / "out", files / "rows.jsonl"
    if command == "tune":
        output = files / "bundle"
    first = held(output)
    sets = ["--data", rows, "--eval", rows]
    arguments = {
        "compress": [files / "model", *sets, "--output", output],
        "finetune": [files / "encoder", *sets, "--output", output],
        "search": [files / "model", *sets, "--trials", 1, "--output", output],
        "export": [files / "model", "--output", output],
        "tune": [output, "--time-limit", "5s"],
    }[command]
    result = CliRunner().invoke(app, [command, *map(str, arguments)])
    assert result.exit_code == 2, result.output
    assert f"another process works on {output}" in result.stderr
    assert f"process {first.pid}, since 20" in result.stderr
    assert "choose another" in result.stderr
    assert first.poll() is None
    assert tmp_path.joinpath("out").exists() is False


def test_a_process_that_was_killed_holds_nobody_up_and_nothing_is_left(tmp_path, held):
    first = held(tmp_path / "out")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert len(list(tmp_path.iterdir())) == 1  # the file of the lock
    with claim(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_claim_holds_further_down_but_not_in_another_thread(tmp_path):
    met = []

    def other():
        try:
            with claim(tmp_path / "a" / "out"):
                met.append("in")
        except OutputInUseError as error:
            met.append(str(os.getpid()) in error.message)

    with claim(tmp_path / "a" / "out"):
        with claim(tmp_path / "a" / ".." / "a" / "out"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with claim(tmp_path / "a" / "another"):
            (tmp_path / "a" / "another").touch()
    assert met == [True]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["another"]


def test_folders_that_were_made_for_a_claim_go_if_nothing_came_of_it(tmp_path):
    with claim(tmp_path / "a" / "b" / "out"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError), claim(tmp_path / ("x" * 300)):
        raise AssertionError("work has begun")
