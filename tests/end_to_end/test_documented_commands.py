"""Documented commands do what is said: those of README and of the pages below are run in their order, on a small model
and small data. Those of all other pages are run by test_further_documented_commands.py, with the slow tests."""

import shlex

import pytest
from documented import REPOSITORY, beginning, commands, parse
from typed_lines import lay_out, type_line

HOW_TOS = [
    "reports",
    "publish",  # before the bundle is signed
    "generators",
    "budgets",
    "teaching",
    "search",
    "processes",
    "run",
    "cpp",
    "sign",
    "remote",
    "serving",
]
PAGES = ["README.md", *(f"docs/how-to/{name}.md" for name in HOW_TOS)]

# What cannot run here, by how the line begins: what of it is looked at instead, and why.
NOT_RUN = {
    "bash scripts/": "makes an environment of its own; the script is there",
    "torchrun ": "several processes are tests/end_to_end/test_processes.py's; the command is parsed",
    "accelerate launch ": "several processes are tests/end_to_end/test_processes.py's; the command is parsed",
    "cmake ": "needs ONNX Runtime's C++ library; tests/export/test_cpp_example.py builds it",
    "build/answer/answer ": "needs ONNX Runtime's C++ library; tests/export/test_cpp_example.py runs it",
    "build/write/write ": "needs ONNX Runtime's C++ library; tests/export/test_cpp_writing.py runs it",
    "edgelm push build/my-model.edge me/my-model --private": "needs a hub; tests/bundles/test_push.py has one",
    "edgelm serve ": "does not end; tests/serve/test_serve_process.py starts it; the command is parsed",
    "edgelm profile build/my-model.edge --host ": "needs hosts; tests/profile/remote has some; the command is parsed",
}
# What is added to a command so that it ends soon, by how the line begins; of an option that is given twice the last
# counts. The budget cannot be met by so small a model, and nobody finds trial 12 among one.
SOONER = {
    "edgelm profile build/my-model.edge --compare": "--runs 5 --warmup 1 --loads 1",
    "edgelm search": "--trials 1 --runs 5",
    "edgelm compress --from-trial 12": "--from-trial 0 --overwrite",
    "edgelm compress ./my-model --data train.csv --eval dev.csv --device cpu": "--time-limit 10s --table table.json",
    "edgelm compress ./my-model --data train.csv --eval dev.csv --recipe fastest": (
        "--set 'distill.shape={layers: 2, hidden: 32, ffn: 64}' --overwrite"
    ),
}

COMMANDS = list(dict.fromkeys(line for page in PAGES for line in commands(REPOSITORY / page)))
RUN = [line for line in COMMANDS if beginning(line, NOT_RUN) is None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader types."""
    return lay_out(tmp_path_factory.mktemp("documented"))


@pytest.mark.parametrize("line", RUN)
def test_a_command_runs_after_those_before_it(line, folder, monkeypatch, warm_workers):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    type_line(line, SOONER.get(beginning(line, SOONER), ""))


@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in RUN])
def test_what_cannot_run_here_can_be_typed(line):
    words = shlex.split(line)
    if words[0] == "bash":
        assert (REPOSITORY / words[1]).is_file()
    elif "edgelm" in words:
        assert parse(line).params


def test_every_exception_is_of_a_command_that_is_there():
    assert all(any(line.startswith(start) for line in COMMANDS) for start in (*NOT_RUN, *SOONER))
    assert len(RUN) >= 10
