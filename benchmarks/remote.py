"""Whether a profile over SSH says what a profile here says: `python benchmarks/remote.py BUNDLE [--pairs 11] [--host
NAME]`.

The same bundle, on the same machine, with and without SSH, in turns: half of the pairs begin with SSH. Without --host,
an OpenSSH server is started on loopback for this user (`apt-get install openssh-server`), with keys and a configuration
of its own. Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from machine import print_machine

from edgelm.profile.pipeline import profile
from edgelm.profile.remote.pipeline import profile_hosts
from edgelm.profile.result import Profile

FIGURES: dict[str, Callable[[Profile], float | None]] = {
    "p50, ms": lambda found: found.cases[0].percentile_ms(50),
    "p95, ms": lambda found: found.cases[0].percentile_ms(95),
    "mean, ms": lambda found: found.cases[0].mean_ms,
    "load, ms": lambda found: found.load_ms,
    "peak memory, MB": lambda found: found.peak_memory_mb,
    "tokenization, ms": lambda found: found.tokenization_ms,
}


@contextlib.contextmanager
def loopback() -> Iterator[str]:
    """The name of a host that is this machine, for as long as its server runs."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
    if program is None:
        sys.exit("There is no sshd here: apt-get install openssh-server, or name a host with --host.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ".ssh").mkdir(mode=0o700)
        for key in (folder / "host", folder / ".ssh" / "id_ed25519"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        lines = [
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {folder / 'host'}",
            f"AuthorizedKeysFile {folder / '.ssh' / 'id_ed25519.pub'}",
        ]
        lines += [
            f"PidFile {folder / 'pid'}",
            "UsePAM no",
            "StrictModes no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "",
        ]
        (folder / "sshd_config").write_text("\n".join(lines))
        (folder / ".ssh" / "config").write_text(f"Host loopback\n  HostName 127.0.0.1\n  Port {port}\n")
        (folder / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        server = subprocess.Popen([program, "-D", "-f", folder / "sshd_config"])
        home, os.environ["HOME"] = os.environ.get("HOME", ""), str(folder)
        try:
            _wait_for(port)
            yield "loopback"
        finally:
            os.environ["HOME"] = home
            server.terminate()
            server.wait()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.05)
    sys.exit("sshd does not listen.")


def measure(bundle: Path, host: str, python: str, pairs: int, threads: int, runs: int) -> list[tuple[Profile, Profile]]:
    """Pairs of a profile here and one over SSH, one after the other."""

    def here() -> Profile:
        return profile(bundle, threads=threads, runs=runs)[0]

    def there() -> Profile:
        return profile_hosts([host], bundle, python=python, threads=threads, runs=runs).profiles[0]

    found = []
    for number in range(pairs):
        if number % 2:
            second = there()
            found.append((here(), second))
        else:
            found.append((here(), there()))
        print(f"pair {number + 1} of {pairs}", file=sys.stderr)
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--host", help="this machine, as SSH knows it")
    parser.add_argument("--python", default=sys.executable, help="of the host")
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    print_machine()
    with contextlib.nullcontext(options.host) if options.host else loopback() as host:
        pairs = measure(options.bundle, host, options.python, options.pairs, options.threads, options.runs)
    print(
        f"| figure | here | over SSH | over SSH / here, median of {len(pairs)} pairs | smallest and largest "
        "|\n|---|---|---|---|---|"
    )
    for name, figure in FIGURES.items():
        values = [
            (first, second)
            for one, two in pairs
            if (first := figure(one)) is not None and (second := figure(two)) is not None
        ]
        ratios = sorted(second / first for first, second in values)
        here, there = (statistics.median(column) for column in zip(*values, strict=True))
        print(
            f"| {name} | {here:.3f} | {there:.3f} | {statistics.median(ratios):.3f} | {ratios[0]:.3f} to "
            f"{ratios[-1]:.3f} |"
        )


if __name__ == "__main__":
    main()
