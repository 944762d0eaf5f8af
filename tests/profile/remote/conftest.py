"""The home of a user of SSH, and devices on loopback."""

import os

import pytest


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own: keys, configuration and known hosts, and no agent."""
    from ssh_servers import Home  # asyncssh may be missing

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Home(tmp_path / "home")


@pytest.fixture
def serve(home, tmp_path):
    """Starts servers by name; each has a folder of its own for temporary files."""
    from ssh_servers import Server

    servers = []

    def start(name="device", *, answer=None, known=True, more="", **environment) -> Server:
        temporary = tmp_path / f"tmp-{name}"
        temporary.mkdir()
        settings = {"PATH": os.environ["PATH"], "TMPDIR": str(temporary), "HOME": str(tmp_path), **environment}
        servers.append(Server(home.public, settings, answer))
        home.add(name, servers[-1].port, servers[-1].host_key, known=known, more=more)
        servers[-1].temporary = temporary
        return servers[-1]

    yield start
    for server in servers:
        server.close()
