"""Which packages are brought to which device."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from edgelm.errors import HostError, UsageError
from edgelm.profile.remote.wheels import check_folder, choose_wheels, download_wheels

ORIN = {"python": [3, 10, 12], "system": "Linux", "machine": "aarch64", "libc": ["glibc", "2.35"]}
TAGS = "cp310-cp310-manylinux_2_28_aarch64"


def make_wheel(folder: Path, package: str, version: str, tags: str = TAGS) -> Path:
    """A wheel that pip takes for one."""
    folder.mkdir(exist_ok=True)
    file, info = folder / f"{package}-{version}-{tags}.whl", f"{package}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{package}/__init__.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tags}\n")
        archive.writestr(f"{info}/RECORD", "")
    return file


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    for package, version in (("numpy", "2.2.0"), ("onnxruntime", "1.22.0")):
        make_wheel(folder, package, version)
    make_wheel(folder, "tokenizers", "0.21.0", "cp39-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64")
    return folder


def names(files: list[Path]) -> list[str]:
    return ["-".join(file.name.split("-")[:2]) for file in files]


def test_the_newest_that_fits(wheels):
    make_wheel(wheels, "numpy", "2.3.0", "cp311-cp311-manylinux_2_28_aarch64")  # another Python
    make_wheel(wheels, "numpy", "2.4.0", "cp310-cp310-manylinux_2_39_aarch64")  # a newer system
    make_wheel(wheels, "numpy", "2.10.0")
    make_wheel(wheels, "scipy", "9.9.9")
    (wheels / "notes.whl").write_text("no wheel")
    assert names(choose_wheels(wheels, ORIN, "jetson")) == ["numpy-2.10.0", "onnxruntime-1.22.0", "tokenizers-0.21.0"]


def test_onnxruntime_for_cuda_is_onnxruntime(wheels):
    """As NVIDIA makes it for Jetsons: its modules are those of the other package."""
    (wheels / f"onnxruntime-1.22.0-{TAGS}.whl").unlink()
    make_wheel(wheels, "onnxruntime_gpu", "1.23.0", "cp310-cp310-linux_aarch64")
    check_folder(wheels)
    assert names(choose_wheels(wheels, ORIN, "jetson")) == [
        "numpy-2.2.0",
        "onnxruntime_gpu-1.23.0",
        "tokenizers-0.21.0",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"machine": "x86_64"}, "on Linux x86_64"),
        ({"python": [3, 12, 1]}, "Python 3.12"),
        ({"libc": ["musl", "1.2"]}, "does not fit"),
        ({"system": "Darwin"}, "no packages can be brought to Darwin"),
    ],
    ids=["architecture", "python", "libc", "system"],
)
def test_what_does_not_fit_is_named(wheels, change, words):
    with pytest.raises(HostError, match=words):
        choose_wheels(wheels, ORIN | change, "device")


def test_a_package_that_is_not_there(wheels):
    next(wheels.glob("tokenizers*")).unlink()
    with pytest.raises(HostError, match="no wheel of tokenizers") as refusal:
        choose_wheels(wheels, ORIN, "jetson")
    assert "manylinux_2_35_aarch64" in refusal.value.hint


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        check_folder(tmp_path / "none")


def test_downloads_are_for_the_device_not_for_this_machine(wheels, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    (tmp_path / "aside").mkdir()
    found = download_wheels(tmp_path / "aside", ORIN, "jetson")
    assert names(found) == ["numpy-2.2.0", "onnxruntime-1.22.0", "tokenizers-0.21.0"]
    with pytest.raises(HostError, match=r"Python 3\.10 on Linux riscv64 could not be downloaded"):
        download_wheels(tmp_path / "aside", ORIN | {"machine": "riscv64"}, "board")
