"""Profile on a host, or on several at once: connect, check, copy, measure as at home, leave nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import EdgelmError, HostError, UsageError
from edgelm.files.scratch import open_scratch
from edgelm.profile.doubts import with_ratios
from edgelm.profile.pipeline import measure
from edgelm.profile.plan import ProfilePlan, plan_profile
from edgelm.profile.remote.agent_client import AgentClient
from edgelm.profile.remote.connection import Connection, Target, read_target
from edgelm.profile.remote.host import RemoteMachine
from edgelm.profile.remote.payload import check_subjects, code_files, subject_files
from edgelm.profile.remote.preflight import check_providers, check_python, check_space, import_error, missing_packages
from edgelm.profile.remote.wheels import check_folder, choose_wheels, download_wheels, unpacked_size
from edgelm.profile.result import Profile
from edgelm.progress import Progress, silent

_ROOM = 10_000_000  # bytes beside what is copied: compiled modules, a profiler's trace


@dataclass(frozen=True)
class HostResults:
    """What hosts gave: profiles, by host and subject in the order in which they were named, and the error of each that
    failed."""

    profiles: tuple[Profile, ...]
    failures: dict[str, EdgelmError]


def profile_hosts(
    hosts: Sequence[str],
    subject: str | Path,
    *,
    compare: Sequence[str | Path] = (),
    python: str = "python3",
    wheels: str | Path | None = None,
    install: bool = False,
    progress: Progress = silent,
    **settings: Any,
) -> HostResults:
    """Measure a bundle, and others beside it, on hosts that SSH reaches; on all at the same time.

    Args:
        hosts: user@host, a name out of ~/.ssh/config, or ssh://user@host:port.
        subject: what is measured, as `edgelm.profile` takes it; no checkpoint.
        compare: what is measured beside it, likewise.
        python: of the hosts.
        wheels: folder with wheels of numpy, onnxruntime and tokenizers; those that fit are used there, and removed.
        install: download such wheels here, where a host lacks the packages.
        settings: as `edgelm.profile` takes them.

    Raises:
        UsageError, InputError: no hosts, one named twice, or what no host could measure; before any is reached.
        EdgelmError: of the only host, or one that all hosts met alike. What one host of several meets is in the
            outcome.
    """
    if not hosts or len(set(hosts)) < len(hosts):
        raise UsageError(
            f"hosts are {', '.join(hosts) or 'none'}; expected one or more, each once.", hint="Give --host user@host."
        )
    if wheels is not None and install:
        raise UsageError("wheels come from a folder or are downloaded, not both.", hint="Give --wheels or --install.")
    targets = [read_target(host) for host in hosts]
    if wheels is not None:
        check_folder(Path(wheels))
    plan = plan_profile(subject, compare=compare, **settings)
    check_subjects(plan.subjects)
    packages = _Packages(None if wheels is None else Path(wheels), install)
    open_now = _Open()
    lock = threading.Lock()

    def work(target: Target) -> list[Profile] | EdgelmError:
        def tell(description: str, done: int, total: int) -> None:
            with lock:
                progress(f"{target.name}: {description}", done, total)

        try:
            return _profile_host(target, plan, python, packages, open_now, tell)
        except EdgelmError as error:
            return error

    with ThreadPoolExecutor(len(targets)) as pool:
        pending = [pool.submit(work, target) for target in targets]
        try:
            results = [entry.result() for entry in pending]
        except BaseException:  # interrupted: without a connection, the agent takes its folder away
            open_now.abort()
            raise
    failures = {
        target.name: result for target, result in zip(targets, results, strict=True) if isinstance(result, EdgelmError)
    }
    if (
        len(failures) == len(targets)
        and len({error.message.replace(name, "") for name, error in failures.items()}) == 1
    ):
        raise next(iter(failures.values()))
    profiles = [entry for result in results if not isinstance(result, EdgelmError) for entry in result]
    return HostResults(tuple(with_ratios(profiles) if profiles else ()), failures)


@dataclass(frozen=True)
class _Packages:
    """Where a host's packages come from: a folder, a download, or (neither) the host."""

    folder: Path | None
    install: bool

    def find(self, client: AgentClient, aside: Path) -> list[Path]:
        """Wheels to take along; none if the host's own packages are used.

        Raises:
            HostError: it lacks some, and none may be brought or none fit.
        """
        if self.folder is not None:
            return choose_wheels(self.folder, client.facts, client.host)
        lack = missing_packages(client)
        if not lack:
            return []
        if not self.install:
            raise HostError(
                f"{client.host}: its Python cannot run a bundle: {lack}.",
                hint="Add --install to bring what is missing (also without internet there), or --wheels FOLDER, or "
                "name another --python.",
            )
        return download_wheels(aside, client.facts, client.host)


class _Open:
    """The connections that are open, and whether all is to end."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []
        self._ended = False

    def add(self, connection: Connection) -> None:
        """Take note of one."""
        self._connections.append(connection)
        if self._ended:
            connection.abort()

    def abort(self) -> None:
        """Cut all, and those that are opened from now on."""
        self._ended = True
        for connection in self._connections:
            connection.abort()


def _profile_host(
    target: Target,
    plan: ProfilePlan,
    python: str,
    packages: _Packages,
    open_now: _Open,
    progress: Progress,
) -> list[Profile]:
    with closing(Connection(target)) as connection, open_scratch() as aside:
        open_now.add(connection)
        check_python(connection, python)
        with AgentClient(connection, python) as client:
            found = packages.find(client, aside)
            if not found:
                check_providers(client, plan.subjects)
            files = [
                *code_files(),
                *((f"wheels/{wheel.name}", wheel) for wheel in found),
                *subject_files(plan.subjects),
            ]
            sizes = [file.stat().st_size for _, file in files]
            check_space(client, sum(sizes) + sum(map(unpacked_size, found)) + _ROOM)
            client.copy(files, lambda done: progress("copying, MB", done // 1_000_000, sum(sizes) // 1_000_000))
            if found and (error := import_error(client)):
                raise HostError(
                    f"{target.name}: the packages that were brought do not load there: {error}.",
                    hint="Give other wheels.",
                )
            return measure(plan, RemoteMachine(client, plan.subjects), progress)
