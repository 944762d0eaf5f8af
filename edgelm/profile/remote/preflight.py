"""What a device must be and have: each lack is told before anything is copied."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from edgelm.errors import HostError, UsageError
from edgelm.profile.remote.agent_client import AgentClient
from edgelm.profile.remote.connection import Connection
from edgelm.profile.subject import Subject
from edgelm.runtime.plugin import PLUGINS
from edgelm.runtime.provider import EXECUTION_PROVIDERS
from edgelm.runtime.tensorrt import MODULES

OLDEST_PYTHON = (3, 10)
_MARK = "edgelm"  # before what is meant for us: a login script may print too
_PROBE = (
    f'echo "{_MARK} $(uname -s) $(uname -m)"; "$0" -c "import sys; print(\\"{_MARK}\\", *sys.version_info[:2])" 2>&1'
)
_IMPORT = "import numpy, onnxruntime, tokenizers; print('ok', flush=True)"
_RUNTIMES = f"""
import json, onnxruntime
from importlib.util import find_spec
packages = [name for name in {[*MODULES.values(), *PLUGINS.values()]} if find_spec(name)]
print(json.dumps({{"providers": onnxruntime.get_available_providers(), "packages": packages}}))
"""


def check_python(connection: Connection, python: str) -> None:
    """Refuse a host that has no shell or no Python that is new enough.

    Raises:
        HostError: the host has no shell, or no Python that is new enough.
    """
    name = connection.target.name
    status, said = connection.run(f"exec sh -c {shlex.quote(_PROBE)} {shlex.quote(python)}")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    marked = [line.split()[1:] for line in lines if line.startswith(_MARK + " ")]
    if not marked:
        words = f": {lines[0][:100]}" if lines else ""
        raise HostError(
            f"{name}: it runs no commands (exit status {status}){words}.",
            hint="Use an account with a shell, on Linux or macOS.",
        )
    hint = f"Install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer there, or name one with --python PATH."
    if len(marked) < 2:
        raise HostError(
            f"{name}: {python} cannot be run there ({(lines[-1] if len(lines) > 1 else 'no output')[:100]}).", hint=hint
        )
    version = tuple(int(part) for part in marked[1])
    if version < OLDEST_PYTHON:
        raise HostError(f"{name}: its {python} is Python {'.'.join(map(str, version))}, which is too old.", hint=hint)


def missing_packages(client: AgentClient) -> str:
    """Why the device's own packages will not do, in words; empty if they do."""
    missing = [package for package, version in client.facts["packages"].items() if version is None]
    return f"{', '.join(missing)} missing" if missing else import_error(client)


def import_error(client: AgentClient) -> str:
    """What Python says when it loads the packages there; empty if it does."""
    line = client.start(["-c", _IMPORT])
    try:
        return "" if line.hear() == "ok" else line.ending()
    finally:
        line.close()


def check_providers(client: AgentClient, subjects: Sequence[Subject]) -> None:
    """Refuse a provider that a subject must have and the device's own packages lack; whether it starts, only running it
    shows.

    Raises:
        UsageError: the device's packages lack the provider.
    """
    forced = [subject for subject in subjects if subject.provider not in (None, "cpu")]
    if not forced:
        return
    line = client.start(["-c", _RUNTIMES])
    try:
        said = line.hear()
    finally:
        line.close()
    if not said:
        return
    there = json.loads(said)
    for subject in forced:
        name = str(subject.provider)
        wanted, package = EXECUTION_PROVIDERS.get(name, name), MODULES.get(name)
        engine = package in there["packages"] and any(
            entry["package"] == name for graph in subject.manifest.get("graphs", ()) for entry in graph["engines"]
        )
        if wanted not in there["providers"] and PLUGINS.get(name) not in there["packages"] and not engine:
            raise UsageError(
                f"{client.host}: {subject.path} cannot run with {name} there: its onnxruntime has no {wanted}.",
                hint=f"It has {', '.join(there['providers'])}. Leave --provider out: it then runs with what is there.",
            )


def check_space(client: AgentClient, needed: int) -> None:
    """Refuse a disk that cannot take so many bytes.

    Raises:
        HostError: the disk has less space.
    """
    free = client.facts["free"]
    if needed > free:
        raise HostError(
            f"{client.host}: {needed / 1e6:.0f} MB are to be copied there; {free / 1e6:.0f} MB are free on the disk "
            "of its temporary files.",
            hint="Free some space there, or set TMPDIR for this user.",
        )


def describe(facts: dict[str, Any]) -> str:
    """What wheels must be made for, in words."""
    return f"Python {'.'.join(map(str, facts['python'][:2]))} on {facts['system']} {facts['machine']}"
