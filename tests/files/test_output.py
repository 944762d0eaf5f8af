"""Outputs: what may be replaced, what no name can be, and that nothing is lost when the process is killed in
between."""

import json
import os
import signal
import subprocess
import sys

import pytest
from bundles import make_bundle
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.errors import OutputExistsError, UsageError
from edgelm.files.output import check_output, staged_output
from edgelm.files.output_kinds import BUNDLE, CHECKPOINT, FILE
from edgelm.files.work import Work

COMMANDS = {
    "finetune": ["finetune", "model", "--data", "rows.jsonl", "--eval", "rows.jsonl"],
    "compress": ["compress", "model", "--data", "rows.jsonl", "--eval", "rows.jsonl"],
    "export": ["export", "model"],
    "profile": ["profile", "bundle"],
    "report": ["profile", "bundle"],
    "devices": ["devices", "detect"],
    "recipes": ["recipes", "copy", "balanced"],
}


def output_of(command, path):
    """The command line with its output at this path."""
    return [
        *COMMANDS[command],
        *([] if command in ("devices", "recipes") else ["--html" if command == "report" else "--output"]),
        str(path),
    ]


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def thesis(tmp_path):
    """A folder that edgelm never wrote."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    return tmp_path / "thesis"


@pytest.mark.parametrize("command", COMMANDS)
def test_overwrite_deletes_no_folder_that_edgelm_never_wrote(thesis, command, monkeypatch):
    monkeypatch.chdir(thesis.parent)
    result = run(*output_of(command, thesis), "--overwrite")
    assert result.exit_code == 2
    assert str(thesis) in result.stderr
    assert (thesis / "chapter.tex").read_text() == "years of work"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", [".", "/", "..", "file/x", "x" * 300, "x" * 300 + "/y"], ids=lambda name: name[:8])
def test_a_name_that_no_output_can_have_is_said_with_exit_code_2(tmp_path, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    for overwrite in ([], ["--overwrite"]):
        result = run(*output_of(command, name), *overwrite)
        assert result.exit_code == 2, result.output
        assert "defect" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def write_checkpoint(folder):
    folder.mkdir()
    (folder / "edgelm.json").write_text(json.dumps({"schema": 1, "task": {}}))


def test_a_folder_is_replaced_by_an_output_of_its_kind_alone(tmp_path, thesis):
    bundle, checkpoint, empty = make_bundle(tmp_path / "bundle"), tmp_path / "checkpoint", tmp_path / "empty"
    write_checkpoint(checkpoint)
    empty.mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "manifest.json").write_text(json.dumps({"name": "a web page", "icons": []}))
    may = {(BUNDLE, bundle), (CHECKPOINT, checkpoint), (BUNDLE, empty), (CHECKPOINT, empty)}
    for kind in (BUNDLE, CHECKPOINT, FILE):
        for path in (bundle, checkpoint, empty, thesis, tmp_path / "app"):
            if (kind, path) in may:
                check_output(path, overwrite=True, kind=kind)
            else:
                with pytest.raises(OutputExistsError, match=path.name):
                    check_output(path, overwrite=True, kind=kind)
    (bundle / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"notes\.txt"):
        check_output(bundle, overwrite=True, kind=BUNDLE)


def test_a_file_replaces_a_regular_file_and_no_device_and_no_folder(tmp_path):
    (tmp_path / "report.html").write_text("old")
    with staged_output(tmp_path / "report.html", overwrite=True) as aside:
        aside.write_text("new")
    assert (tmp_path / "report.html").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/null", tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError), staged_output(path, overwrite=True):
            raise AssertionError("work has begun")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputExistsError):
        check_output(tmp_path / "gone", overwrite=False)


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    (tmp_path / "latest").symlink_to(bundle)
    with staged_output(tmp_path / "latest", overwrite=True, kind=BUNDLE) as aside:
        make_bundle(aside)
    assert not (tmp_path / "latest").is_symlink()
    assert (bundle / "manifest.json").is_file()


def test_what_came_while_the_output_was_made_is_not_replaced(tmp_path):
    with pytest.raises(OutputExistsError), staged_output(tmp_path / "x") as aside:
        aside.write_text("ours")
        (tmp_path / "x").write_text("theirs")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "theirs")]


def test_of_a_work_folder_only_what_edgelm_put_there_is_removed(tmp_path):
    work = tmp_path / "out.work"
    for name in ("1-prune-0123456789abcdef", "mine"):
        (work / name).mkdir(parents=True)
    Work(work, r"\d+-[a-z-]+-[0-9a-f]{16}").remove()
    assert [path.name for path in work.iterdir()] == ["mine"]
    (work / "mine").rmdir()
    Work(work, "x").remove()
    assert not work.exists()


# Replaces a checkpoint, and kills itself at the given step of all those that change what lies on the disk.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
import edgelm.files.moving as moving
from edgelm.files.output import staged_output
from edgelm.files.output_kinds import CHECKPOINT
path, step, exchange = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "exchange"
count = 0
def guard(function):
    def guarded(*values, **options):
        global count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*values, **options)
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return guarded
steps = ((Path, "mkdir"), (Path, "rename"), (Path, "replace"), (shutil, "rmtree"), (os, "unlink"), (os, "rmdir"))
for place, name in steps:
    setattr(place, name, guard(getattr(place, name)))
moving._exchange = guard(moving._exchange) if exchange else (lambda first, second: False)
with staged_output(path, overwrite=True, kind=CHECKPOINT) as aside:
    aside.mkdir()
    (aside / "edgelm.json").write_text('{"schema": 1, "task": {}}')
    (aside / "weights").write_text("new")
print(count)
"""


def replace_killed(path, step, how):
    command = [sys.executable, "-c", KILLED, str(path), str(step), how]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("how", ["exchange", "two renames"])
def test_a_kill_at_any_step_of_replacing_loses_neither_the_old_nor_the_new(tmp_path, how):
    """Whatever was there before is there afterwards, or what replaced it; whole, and with nothing beside it after the
    next run."""
    path = tmp_path / "checkpoint"
    step, seen = 0, set()
    while True:
        step += 1
        if not path.exists():
            write_checkpoint(path)
        (path / "weights").write_text("old")
        done = replace_killed(path, step, how)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        if how == "exchange":
            assert path.exists()  # at no time is nothing there
        check_output(path, overwrite=True, kind=CHECKPOINT)
        assert (path / "edgelm.json").is_file()
        seen.add((path / "weights").read_text())
        assert replace_killed(path, 0, how).returncode == 0
        assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]
        assert (path / "weights").read_text() == "new"
    assert step > 8
    assert seen == {"old", "new"}


def test_a_workspace_of_a_process_that_lives_is_left_alone(tmp_path):
    with staged_output(tmp_path / "x") as ours:
        with staged_output(tmp_path / "x") as theirs:
            theirs.write_text("first")
        ours.write_text("second")
        assert ours.is_file()
        (tmp_path / "x").unlink()
    assert (tmp_path / "x").read_text() == "second"
