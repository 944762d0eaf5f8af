"""The home of a user of SSH."""

import pytest


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own: keys, configuration and known hosts, and no agent."""
    from ssh_servers import Home  # asyncssh may be missing

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Home(tmp_path / "home")
