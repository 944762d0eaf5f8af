"""The wheel: what lies in it, and that it works alone, from any folder."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_every_shipped_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for kind in ("recipes", "devices", "calibration_data"):
        tracked = subprocess.run(
            ["git", "ls-files", kind], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout.split()
        files = [name for name in tracked if not name.endswith("/.keep") and (REPOSITORY / name).is_file()]
        assert files, f"{kind}/ has no committed files"
        missing = [name for name in files if f"edgelm/_shipped/{name}" not in names]
        assert not missing


def test_the_wheel_holds_what_bundles_are_made_of(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "edgelm/export/cpp"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert tracked
    assert set(tracked) <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_is_typed_and_licensed_and_carries_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "edgelm/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "edgelm/_shipped/LICENSE" in names  # which bundles carry
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "scripts/", ".ci/"))]


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and its own dependencies: no torch, no extras."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=True)
    subprocess.run(
        [folder / "bin" / "pip", "install", "--quiet", str(wheel)], check=True, timeout=900, stdin=subprocess.DEVNULL
    )
    return folder / "bin"


def run(bare: Path, *arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))} | {
        "NO_COLOR": "1"
    }
    return subprocess.run(
        [bare / arguments[0], *arguments[1:]],
        capture_output=True,
        text=True,
        cwd=folder,
        env=clean,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--help",), "compress"),
        (("--version",), "edgelm "),
        (("devices", "list"), "x86-vnni"),
        (("devices", "show", "cpu"), "name: cpu"),
        (("recipes", "list"), "balanced"),
        (("recipes", "show", "balanced"), "stage: prune"),
        (("doctor",), "pip install 'edgelm[compress]'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_bare_install_works_from_another_folder(
    bare: Path, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    done = run(bare, "edgelm", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


@pytest.mark.slow
def test_a_bare_install_has_the_runtime_without_torch(bare: Path, tmp_path: Path) -> None:
    done = run(bare, "python", "-c", "import edgelm.runtime; print(edgelm.runtime.__file__)", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(bare.parent) in done.stdout
    assert run(bare, "python", "-c", "import torch", folder=tmp_path).returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["finetune", "compress", "export"])
def test_a_bare_install_says_which_extra_a_command_needs(bare: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n" + "fine film,good\nbad film,poor\n" * 10)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(
        '{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}'
    )
    rows = () if command == "export" else ("--data", "rows.csv", "--eval", "rows.csv")
    done = run(bare, "edgelm", command, "model", *rows, "--output", "out", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "pip install 'edgelm[compress]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
