"""Workflows, containers and hooks call what is there. Nothing of them runs here: what they call is tested elsewhere."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
DOCKERFILES = sorted((REPOSITORY / "scripts" / "docker").glob("*.Dockerfile"))
TOOLS = Path(sys.executable).parent


def check(command: str) -> None:
    """Every script and path of a command is in the repository, every module is a tool that is declared."""
    words = shlex.split(command)
    assert words[0] in ("bash", "python", ".venv/bin/python"), command
    for word in words:
        if word.startswith(("scripts/", "tests/")):
            assert (REPOSITORY / word).exists(), command
    if "-m" in words[:2]:
        declared = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
        module = words[words.index("-m") + 1]
        assert module == "pip" or re.search(rf'"{module}[">=]', declared), command
    for extra in re.findall(r"\.\[([\w,]+)\]", command):
        check_extras(extra)


def check_extras(names: str) -> None:
    declared = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name} = \[", declared, re.MULTILINE) for name in names.split(",")), names


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_calls_what_is_there(file):
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        steps = job["steps"]
        assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
        checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
        assert checkouts and all(step["with"] == {"persist-credentials": False} for step in checkouts)
        runs = [step["run"] for step in steps if "run" in step]
        assert runs
        for command in runs:
            check(command)


def test_there_are_workflows_for_tests_wheel_and_pages():
    assert [file.stem for file in WORKFLOWS] == ["docs", "tests", "wheel"]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_a_container_is_made_of_what_is_there(file):
    text = file.read_text(encoding="utf-8")
    sources = [word for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for word in line.split()]
    assert {"pyproject.toml", "edgelm", "recipes", "devices", "calibration_data", "LICENSE"} <= set(sources)
    assert all((REPOSITORY / source).exists() for source in sources)
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored and {f"!{source}" for source in sources} <= set(ignored)
    for extras in re.findall(r"'\.\[([\w,]+)\]'", text):
        check_extras(extras)
    environment = (REPOSITORY / "scripts" / "environment.sh").read_text(encoding="utf-8")
    assert all(torch in environment for torch in re.findall(r"torch==[\d.]+", text))
    assert f"scripts/docker/{file.name}" in text  # the command that builds it


def test_hooks_are_tools_of_the_environment():
    settings = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in settings["repos"] for hook in repo["hooks"]]
    assert {hook["id"] for hook in hooks} == {"ruff", "ruff-format", "mypy", "lint-imports"}
    assert all(shutil.which(hook["entry"].split()[0], path=str(TOOLS)) for hook in hooks)


def test_the_container_of_editors_makes_the_environment():
    settings = json.loads((REPOSITORY / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    check(settings["postCreateCommand"])


def test_scripts_are_read_by_bash():
    for script in sorted((REPOSITORY / "scripts").glob("*.sh")):
        done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
