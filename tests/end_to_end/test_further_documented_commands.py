"""The commands of all pages that test_documented_commands.py leaves out, run in their order after those of README."""

import shlex
import shutil
from importlib.util import find_spec

import pytest
from documented import PAGES, REPOSITORY, beginning, commands, parse
from test_documented_commands import NOT_RUN as NOT_RUN_BEFORE
from test_documented_commands import PAGES as PAGES_BEFORE
from test_documented_commands import SOONER as SOONER_BEFORE
from typed_lines import lay_out, type_line

pytestmark = pytest.mark.slow

# What cannot run here, by how the line begins, and why.
NOT_RUN = NOT_RUN_BEFORE | {
    "pip ": "changes the environment that the tests run in",
    "EDGELM_TORCH_INDEX=": "makes an environment of its own",
    "python3 -m venv": "makes an environment of its own",
    "venv/bin/": "is of that environment",
    "docker ": "needs a daemon",
    "scp ": "needs a host",
    "ssh ": "needs a host",
    "edgelm build ": "needs TensorRT and a GPU; tests/engines has stand-ins",
    "edgelm verify jetson.edge": "is typed on the device",
    "edgelm profile jetson.edge": "is typed on the device",
    "edgelm run jetson.edge": "is typed on the device",
    "edgelm verify build/rtx.edge": "is of an engine",
    "edgelm run build/rtx.edge": "needs a GPU",
}
# What is added to a command so that it ends soon, by how the line begins.
SOONER = SOONER_BEFORE | {
    "edgelm profile": "--runs 5 --warmup 1 --loads 1",
    "edgelm tune": "--time-limit 10s",
    "edgelm init": "--time-limit 20s",
    "edgelm make": "--overwrite",
    "edgelm compress ./my-model --data train.csv --eval dev.csv --max-": "--time-limit 10s --table table.json",
    "edgelm compress ./my-model --data train.csv --eval dev.csv --recipe one-shot": "--table table.json",
}
# Packages that a command needs, by words of its line.
NEEDS = {"--provider native": "edgelm_native", "openvino": "openvino", "executorch": "executorch"}
README, *_ = PAGES
COMMANDS = [line for page in PAGES for line in commands(page)]
BEFORE = [line for page in PAGES_BEFORE for line in commands(REPOSITORY / page)]
FURTHER = list(dict.fromkeys(line for line in COMMANDS if line not in BEFORE))
RUN = [line for line in FURTHER if beginning(line, NOT_RUN) is None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader types who has followed README."""
    here = lay_out(tmp_path_factory.mktemp("further"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("XDG_CACHE_HOME", str(here / "cache"))
        for line in commands(README):
            if line.startswith(("edgelm compress", "edgelm export")):
                type_line(line, SOONER_BEFORE.get(beginning(line, SOONER_BEFORE), ""))
        type_line("edgelm export ./my-model --precision fp32 --output build/fp32.edge")
        type_line(
            "edgelm export ./my-model --precision int8 --calibration train.csv --output build/my-model.edge --overwrite"
        )
    return here


@pytest.mark.parametrize("line", RUN)
def test_a_command_runs_after_those_before_it(line, folder, monkeypatch, warm_workers):
    for word, package in NEEDS.items():
        if word in line and find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    words = shlex.split(line)
    if "--output" in words:
        made = folder / words[words.index("--output") + 1]
        if made.is_dir():
            shutil.rmtree(made)
    type_line(line, SOONER.get(beginning(line, SOONER), ""))


def test_what_cannot_run_here_can_be_typed():
    for line in FURTHER:
        if line not in RUN and line.startswith("edgelm "):
            assert parse(line).params


def test_every_exception_is_of_a_command_that_is_there():
    mine = {*NOT_RUN, *SOONER} - {*NOT_RUN_BEFORE, *SOONER_BEFORE}
    assert all(any(line.startswith(start) for line in FURTHER) for start in mine)
