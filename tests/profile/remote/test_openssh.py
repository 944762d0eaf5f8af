"""Profiles through a real OpenSSH server on loopback, as a user with few rights: `bash scripts/test.sh -m ssh`."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from bundles import make_bundle
from typer.testing import CliRunner

pytest.importorskip("asyncssh", reason="the extra `remote` is not installed")

from ssh_servers import Home

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
ROOT = os.geteuid() == 0
pytestmark = [pytest.mark.ssh, pytest.mark.skipif(SSHD is None, reason="no sshd: apt-get install openssh-server")]
as_root = pytest.mark.skipif(not ROOT, reason="mounts a small disk: root alone may")

FAST = ("--runs", 20, "--warmup", 2, "--loads", 1, "--threads", 1)


@pytest.fixture(scope="module")
def user() -> Iterator[str]:
    """Who logs in: as root, a new account without any rights; else whoever runs the tests."""
    if not ROOT:
        yield getpass.getuser()
        return
    name = f"edgelm-{os.getpid()}"
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", name], check=True)
    yield name
    subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


@pytest.fixture(scope="module")
def python(user) -> str:
    """A Python that this user may run."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        as_user = ["runuser", "-u", user, "--"] if ROOT else []
        done = subprocess.run(
            [*as_user, candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 10))"],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            return candidate
    pytest.skip("no Python 3.10 that another user may run: apt-get install python3")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("openssh") / "tiny.edge")


class Sshd:
    """A running server, and the temporary folder that its sessions have."""

    def __init__(self, folder: Path, user: str, home: Home) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o777)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host"], check=True)
        (folder / "keys").write_text(f"restrict {home.public}")
        (folder / "keys").chmod(0o644)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {folder / 'host'}",
            f"AuthorizedKeysFile {folder / 'keys'}",
        ]
        lines += [
            f"PidFile {folder / 'pid'}",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
        ]
        (folder / "config").write_text("\n".join([*lines, f"AllowUsers {user}", f"SetEnv TMPDIR={self.temporary}", ""]))
        if ROOT:
            Path("/run/sshd").mkdir(exist_ok=True)
        assert SSHD is not None
        self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"], stderr=(folder / "log").open("wb"))
        home.add("device", self.port, (folder / "host.pub").read_text().rsplit(" ", 1)[0], more=f"  User {user}")
        self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < end, "sshd does not listen"
                time.sleep(0.05)

    def cut(self) -> None:
        """Kill the processes that serve connections, as a network or a power supply would."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name().startswith("sshd"):  # not what runs in the sessions
                    child.send_signal(signal.SIGKILL)

    def left(self) -> list[str]:
        """What lies in the temporary folder; waits for it to be empty."""
        end = time.monotonic() + 20
        while (found := sorted(path.name for path in self.temporary.iterdir())) and time.monotonic() < end:
            time.sleep(0.1)
        return found


@pytest.fixture
def sshd(user, home):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # pytest's own folders are for one user
        server = Sshd(Path(folder), user, home)
        yield server
        server.cut()
        server.process.terminate()
        server.process.wait(20)


def run(*arguments: object):
    from edgelm.cli.main import app

    return CliRunner().invoke(app, ["profile", *(str(word) for word in arguments)])


@pytest.fixture(scope="module")
def wheels(python, tmp_path_factory) -> Path:
    """Packages for that Python, from the index."""
    asked = (
        "import json, platform, sys; print(json.dumps([list(sys.version_info[:3]), platform.machine(), "
        "list(platform.libc_ver())]))"
    )
    version, machine, libc = json.loads(
        subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout
    )
    from edgelm.errors import HostError
    from edgelm.profile.remote.wheels import download_wheels

    folder = tmp_path_factory.mktemp("wheels")
    try:
        download_wheels(folder, {"python": version, "system": "Linux", "machine": machine, "libc": libc}, "device")
    except HostError as error:
        pytest.skip(f"no wheels: {error.message}")
    return folder


def test_a_user_without_rights_or_packages(bundle, sshd, user, python, wheels):
    result = run(bundle, "--host", "device", "--python", python, "--wheels", wheels, *FAST, "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["profiles"]
    assert found["machine"]["versions"].keys() >= {"edgelm", "numpy", "onnxruntime", "tokenizers"}
    assert len(found["cases"][0]["samples_ms"]) == 20
    assert sshd.left() == []
    processes = [
        process for process in psutil.process_iter(["username", "cmdline"]) if process.info["username"] == user
    ]
    assert not [process for process in processes if "edgelm" in " ".join(process.info["cmdline"] or ())]


def test_a_key_that_only_the_agent_has(bundle, sshd, home, python, wheels, monkeypatch, tmp_path):
    socket_file = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket_file], stdout=subprocess.DEVNULL)
    try:
        while not socket_file.exists():
            time.sleep(0.05)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_file))
        subprocess.run(["ssh-add", "-q", home.ssh / "id_ed25519"], check=True, capture_output=True)
        (home.ssh / "id_ed25519").unlink()
        result = run(bundle, "--host", "device", "--python", python, "--wheels", wheels, *FAST)
        assert result.exit_code == 0, result.output
    finally:
        agent.terminate()
        agent.wait(10)


def test_a_connection_that_is_lost(bundle, sshd, python, wheels):
    def cut() -> None:
        while not list(sshd.temporary.glob("edgelm-*/errors-2")):  # the subject itself
            time.sleep(0.02)
        sshd.cut()

    threading.Thread(target=cut, daemon=True).start()
    result = run(bundle, "--host", "device", "--python", python, "--wheels", wheels, "--runs", 1_000_000, "--loads", 1)
    assert result.exit_code == 1
    assert "connection was lost" in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 3
    assert sshd.left() == []


@as_root
@pytest.mark.parametrize(
    ("options", "words"),
    [("size=2m", "MB are free"), ("size=400m,nr_inodes=30", "could not be copied: No space left on device")],
    ids=["too-small", "filled-while-copying"],
)
def test_a_full_disk(bundle, sshd, python, wheels, options, words):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options},mode=1777", "tmpfs", sshd.temporary], check=True)
    try:
        result = run(bundle, "--host", "device", "--python", python, "--wheels", wheels, *FAST)
        assert result.exit_code == 1
        assert words in result.stderr
        assert sshd.left() == []
    finally:
        subprocess.run(["umount", "--lazy", sshd.temporary], check=True)


def test_a_host_that_is_not_known(bundle, sshd, home):
    home.known.write_text("")
    result = run(bundle, "--host", "device", *FAST)
    assert result.exit_code == 1
    assert "not among your known hosts" in result.stderr


def test_an_account_that_another_key_opens(bundle, sshd, home):
    import asyncssh

    asyncssh.generate_private_key("ssh-ed25519").write_private_key(home.ssh / "id_ed25519")
    result = run(bundle, "--host", "device", *FAST)
    assert result.exit_code == 1
    assert "login refused for this user" in result.stderr
