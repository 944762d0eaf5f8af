"""Packages for a device's Python: chosen from a folder, or downloaded here, so that the device needs no internet and no
pip.

Only the three that the runtime imports; what they list beside (tokenizers: a client of the hub) is not needed to run a
bundle.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelm.errors import HostError, MissingExtraError, UsageError, install_extra
from edgelm.profile.remote.agent import PACKAGES
from edgelm.profile.remote.preflight import describe

_OLDEST = {"numpy": "1.26", "onnxruntime": "1.20", "tokenizers": "0.20"}  # as pyproject.toml has them
_SAME = {"onnxruntime-gpu": "onnxruntime"}  # the same modules, made for CUDA and TensorRT
_OLDEST_GLIBC = 17  # manylinux2014
_DOWNLOAD_S = 900


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds nothing for any device.

    Raises:
        UsageError: no folder, or no wheel of a package in it.
        MissingExtraError: wheels' names cannot be read here.
    """
    _names()
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is no folder.", hint="Give a folder of wheels, or --install to have them downloaded."
        )
    for package in PACKAGES:
        if not any(any(folder.glob(f"{name.replace('-', '_')}-*.whl")) for name in _names_of(package)):
            raise UsageError(
                f"{folder}: no wheel of {package}.",
                hint=f"It must hold wheels of {', '.join(PACKAGES)}; --install downloads them.",
            )


def choose_wheels(folder: Path, facts: dict[str, Any], host: str) -> list[Path]:
    """One wheel of each package that fits the device, the newest first.

    Raises:
        HostError: there is none, or only for another architecture, system or Python.
    """
    names = _names()
    ranks = {tag: rank for rank, tag in enumerate(_tags(facts))}
    found: dict[str, list[tuple[Any, int, Path]]] = {package: [] for package in PACKAGES}
    others: dict[str, list[str]] = {package: [] for package in PACKAGES}
    for file in sorted(folder.glob("*.whl")):
        try:
            name, version, _, tags = names.parse_wheel_filename(file.name)
        except names.InvalidWheelFilename:
            continue
        name = _SAME.get(name, name)
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
        if name in found and rank is not None:
            found[name].append((version, -rank, file))
        elif name in others:
            others[name].append(file.name)
    for package in PACKAGES:
        if not found[package]:
            there = f"{others[package][0]} does not fit" if others[package] else f"no wheel of {package}"
            raise HostError(
                f"{folder}: {there}; {host} has {describe(facts)}.",
                hint=f"--install downloads what fits; by hand: `{shlex.join([*_pip(facts)[2:], package])}`.",
            )
    return [max(found[package])[2] for package in PACKAGES]


def download_wheels(folder: Path, facts: dict[str, Any], host: str) -> list[Path]:
    """Download here what the device needs there.

    Raises:
        HostError: there are none for it, or none could be fetched.
    """
    wanted = [f"{package}>={version}" for package, version in _OLDEST.items()]
    command = [*_pip(facts), "--quiet", "--disable-pip-version-check", "--dest", str(folder), *wanted]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_DOWNLOAD_S, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        reason = next(
            (line for line in reversed(done.stderr.splitlines()) if line.strip()), "no reason given"
        ).removeprefix("ERROR: ")
        raise HostError(
            f"{host}: wheels for {describe(facts)} could not be downloaded: {reason[:200]}",
            hint="Look at the network here, or give a folder of wheels with --wheels.",
        )
    return choose_wheels(folder, facts, host)


def _names_of(package: str) -> list[str]:
    """Under which a package is published."""
    return [package, *(other for other, same in _SAME.items() if same == package)]


def _names() -> Any:
    """What reads the names of wheels.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        from packaging import utils
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the package packaging is missing; it reads the names of wheels.", hint=install_extra("remote")
        ) from error
    return utils


def unpacked_size(wheel: Path) -> int:
    """Bytes of a wheel's files.

    Raises:
        HostError: it is damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile as error:
        raise HostError(f"{wheel}: not a wheel, or damaged ({error}).", hint="Download it again.") from error


def _platforms(facts: dict[str, Any]) -> list[str]:
    """Platform tags that run there, the most particular first."""
    machine, (libc, version) = facts["machine"], facts["libc"]
    if facts["system"] != "Linux":
        raise HostError(
            f"no packages can be brought to {facts['system']}.", hint="Install onnxruntime, tokenizers and numpy there."
        )
    if libc != "glibc":
        return [f"linux_{machine}"]
    minor = int(version.split(".")[1])
    names = [f"manylinux_2_{number}_{machine}" for number in range(minor, _OLDEST_GLIBC - 1, -1)]
    return [*names, f"manylinux2014_{machine}", f"linux_{machine}"]


def _tags(facts: dict[str, Any]) -> list[Any]:
    from packaging.tags import compatible_tags, cpython_tags

    version = facts["python"][:2]
    interpreter = f"cp{version[0]}{version[1]}"
    platforms = _platforms(facts)
    return [*cpython_tags(version, [interpreter], platforms), *compatible_tags(version, interpreter, platforms)]


def _pip(facts: dict[str, Any]) -> Sequence[str]:
    """`pip download` for the device."""
    version = ".".join(map(str, facts["python"][:2]))
    abis = [word for abi in ("cp" + version.replace(".", ""), "abi3", "none") for word in ("--abi", abi)]
    platforms = [word for platform in _platforms(facts) for word in ("--platform", platform)]
    fixed = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        version,
    ]
    return [*fixed, *abis, *platforms]
