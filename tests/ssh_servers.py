"""SSH servers on loopback for tests, the home of a user who may log in (keys, known hosts, configuration), and profiles
there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import asyncssh
from typer.testing import CliRunner

FAST = ("--runs", 20, "--warmup", 2, "--loads", 1, "--threads", 1)


def run(*arguments, python: str | None = sys.executable):
    """`edgelm profile`, with the hosts' Python."""
    from edgelm.cli.main import app

    words = ["profile", *arguments, *(("--python", python) if python else ())]
    return CliRunner().invoke(app, [str(word) for word in words])


def left(server: Server, seconds: float = 20) -> list[str]:
    """What lies in the device's folder for temporary files; waits for it to be empty."""
    end = time.monotonic() + seconds
    while (found := sorted(path.name for path in server.temporary.iterdir())) and time.monotonic() < end:
        time.sleep(0.1)
    return found


class Home:
    """A home folder with ~/.ssh: a key, and a configuration to which hosts are added."""

    def __init__(self, folder: Path) -> None:
        self.ssh = folder / ".ssh"
        self.ssh.mkdir(parents=True, mode=0o700)
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.key.write_private_key(self.ssh / "id_ed25519")
        (self.ssh / "id_ed25519").chmod(0o600)
        self.public = self.key.export_public_key().decode()
        self.config, self.known = self.ssh / "config", self.ssh / "known_hosts"
        self.config.touch()
        self.known.touch()

    def add(self, name: str, port: int, host_key: str, *, known: bool = True, more: str = "") -> None:
        """A host by this name; `host_key` is its public one."""
        self.config.write_text(self.config.read_text() + f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n{more}\n")
        if known:
            self.known.write_text(self.known.read_text() + f"[127.0.0.1]:{port} {host_key.strip()}\n")


class Server:
    """An SSH server in a thread of this process; it runs commands with the shell, as sshd does, in an environment that
    the test chooses.

    Attributes:
        connections: that are open; `cut` drops them as a lost network does.
        commands: what was run, in order.
        temporary: its folder for temporary files, where the test gave it one.
    """

    temporary: Path

    def __init__(self, public: str, environment: dict[str, str], answer: str | None = None) -> None:
        self.environment, self.answer = environment, answer
        self.commands: list[str] = []
        self.pids: list[int] = []
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key = self.key.export_public_key().decode()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._authorized = asyncssh.import_authorized_keys(public)
        self._acceptor = self._wait(self._listen())
        self.port = self._acceptor.get_port()

    def cut(self) -> None:
        """Drop every connection without a word."""
        for connection in self.connections:
            self._loop.call_soon_threadsafe(connection.abort)
        self.connections.clear()

    def close(self) -> None:
        """End the server and what it runs."""
        self.cut()
        for pid in self.pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        self._wait(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _wait(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self):
        server = self

        class Door(asyncssh.SSHServer):
            def connection_made(self, connection) -> None:
                server.connections.append(connection)

            def connection_requested(self, host, port, from_host, from_port) -> bool:
                return True  # it may be a jump host

        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Door,
            server_host_keys=[self.key],
            authorized_client_keys=self._authorized,
            process_factory=self._run,
            encoding=None,
        )

    async def _shut(self) -> None:
        self._acceptor.close()
        await self._acceptor.wait_closed()
        if running := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(running, timeout=15)

    async def _run(self, process: asyncssh.SSHServerProcess) -> None:
        self.commands.append(process.command or "")
        if self.answer is not None:  # an account that runs nothing says a word and goes
            process.stdout.write(self.answer.encode())
            process.exit(1)
            return
        pipe, command = asyncio.subprocess.PIPE, ("/bin/sh", "-c", process.command or "")
        child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=self.environment)
        self.pids.append(child.pid)
        with contextlib.suppress(Exception):
            await asyncio.gather(self._feed(process, child), self._drain(process, child))
        if child.stdin is not None:
            child.stdin.close()  # the client has gone: its command hears that
        status = await child.wait()
        with contextlib.suppress(Exception):
            process.exit(status if status >= 0 else 128 - status)

    async def _feed(self, process, child) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            while data := await process.stdin.read(1 << 16):
                child.stdin.write(data)
                await child.stdin.drain()
        child.stdin.close()

    async def _drain(self, process, child) -> None:
        while data := await child.stdout.read(1 << 16):
            process.stdout.write(data)
            await process.stdout.drain()
        process.stdout.write_eof()


class Wire:
    """What lies between a client and a server; once it is frozen, nothing arrives and nobody is told."""

    def __init__(self, port: int) -> None:
        self.frozen = False
        self._ends: list[socket.socket] = []
        self._server = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Hang up on both sides."""
        for end in (self._door, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.frozen = False  # who waits finds out

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, there = self._door.accept()[0], socket.create_connection(("127.0.0.1", self._server))
                self._ends += [here, there]
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                while self.frozen:
                    time.sleep(0.05)
                sink.sendall(data)
