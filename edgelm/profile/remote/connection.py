"""A blocking wrapper of asyncssh, the only module that imports it.

What the user has set up for `ssh` holds: ~/.ssh/config (aliases, users, ports, keys, jump hosts, proxy commands), the
agent, and the known hosts. A host whose key is not among these is refused, whatever the configuration says, and so is a
jump host.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import socket
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgelm.errors import EdgelmError, HostError, MissingExtraError, UsageError, install_extra

_Result = TypeVar("_Result")

CONNECT_S = 30
_ALIVE_S = (15, 4)  # every so many seconds the other end is asked whether it is there; so often it may not answer
_KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


@dataclass(frozen=True)
class Target:
    """`user@host`, `host` or `ssh://user@host:port`; what is missing, the user's configuration says."""

    name: str
    host: str
    user: str | None
    port: int | None


def read_target(name: str) -> Target:
    """What a user means by a host.

    Raises:
        UsageError: not a host.
    """
    rest, port = name.removeprefix("ssh://").rstrip("/"), None
    user, _, host = rest.rpartition("@")
    if name.startswith("ssh://"):
        before, colon, digits = host.rpartition(":")
        if colon and digits.isdigit():
            host, port = before, int(digits)
    host = host.removeprefix("[").removesuffix("]")
    if not host or host.startswith("-") or any(letter.isspace() for letter in rest):
        raise UsageError(
            f"{name!r} is no host.", hint="Give --host user@host, a name out of ~/.ssh/config, or ssh://user@host:port."
        )
    return Target(name, host, user or None, port)


class Connection:
    """An open connection to a host. Its event loop has a thread of its own.

    Raises:
        HostError: it cannot be reached, is not known, or refuses this user.
        MissingExtraError: asyncssh is not installed.
    """

    def __init__(self, target: Target) -> None:
        try:
            import asyncssh
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "the package asyncssh is missing; it speaks SSH.", hint=install_extra("remote")
            ) from error
        self.target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._ssh: Any = None
        try:
            with _translated(target):
                self._ssh = self.wait(asyncio.wait_for(_reach(asyncssh, target), CONNECT_S))
        except BaseException:
            self.close()
            raise

    def wait(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Have the loop do some work, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def run(self, command: str, *, timeout: float = CONNECT_S) -> tuple[int | None, str]:
        """Exit status and stdout of a command; status None if it did not end by itself.

        Raises:
            HostError: the connection was lost, or no answer came in time.
        """
        import asyncssh

        async def go() -> tuple[int | None, str]:
            done = await self._ssh.run(
                command, request_pty=False, stdin=asyncssh.DEVNULL, encoding="utf-8", errors="replace"
            )
            return done.exit_status, str(done.stdout)

        with _translated(self.target):
            return self.wait(asyncio.wait_for(go(), timeout))

    def start(self, command: str) -> Channel:
        """Start a command and talk to it.

        Raises:
            HostError: the connection was lost, or the host starts nothing.
        """
        with _translated(self.target):
            process = self.wait(
                asyncio.wait_for(self._ssh.create_process(command, request_pty=False, encoding=None), CONNECT_S)
            )
        return Channel(self, process)

    def is_open(self) -> bool:
        """Whether the host still answers."""
        try:
            self.run("exit 0", timeout=5)
        except HostError:
            return False
        return True

    def close(self) -> None:
        """Close it, and end the loop."""
        with contextlib.suppress(Exception):
            self.wait(asyncio.wait_for(self._end(), 5))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self) -> None:
        if self._ssh is not None:
            self._ssh.close()
            await self._ssh.wait_closed()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def abort(self) -> None:
        """Cut it without a word; whoever waits for an answer gets none."""
        if self._ssh is not None:
            with contextlib.suppress(RuntimeError):  # it is closed: that host has finished
                self._loop.call_soon_threadsafe(self._ssh.abort)


class Channel:
    """A command that runs on the host; bytes go in, lines come out, in the order in which they came.

    Attributes:
        lines: what it says, without line ends; None once it has ended or the connection was lost.
    """

    def __init__(self, connection: Connection, process: Any) -> None:
        self._connection, self._process = connection, process
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        connection.wait(self._listen())

    async def _listen(self) -> None:
        self._ears = asyncio.ensure_future(self._hear())

    async def _hear(self) -> None:
        rest = b""
        try:
            while data := await self._process.stdout.read(1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self.lines.put(line)
        except Exception:  # the connection was lost: as if it had ended
            pass
        finally:
            self.lines.put(None)

    def send(self, data: bytes) -> bool:
        """Write to its stdin, no faster than it reads; whether that worked."""

        async def go() -> None:
            self._process.stdin.write(data)
            await self._process.stdin.drain()

        try:
            self._connection.wait(go())
        except Exception:  # the connection was lost, or the command has ended; `lines` says so too
            return False
        return True

    def close(self) -> None:
        """Tell it that nothing more comes."""
        with contextlib.suppress(Exception):
            self._connection.wait(asyncio.wait_for(self._shut(), 5))

    async def _shut(self) -> None:
        self._process.close()
        await self._process.wait_closed()


async def _reach(asyncssh: Any, target: Target) -> Any:
    """Connect, through the jump hosts that the configuration names."""
    settings = await _settings(asyncssh, target)
    jumps = [read_target(f"ssh://{jump}") for jump in (settings.tunnel or "").split(",") if jump]
    through: Any = None
    try:
        for number, jump in enumerate(jumps if all(jump.host != target.host for jump in jumps) else []):
            through = await (_connect(asyncssh, jump, through) if number else _reach(asyncssh, jump))
        return await _connect(asyncssh, target, through)
    except BaseException:
        if through is not None:
            through.close()
        raise


async def _connect(asyncssh: Any, target: Target, through: Any) -> Any:
    settings = await _settings(asyncssh, target)
    # To asyncssh, `UserKnownHostsFile none` means that any key will do; and of the files that it is given, none may be
    # missing.
    files = [
        str(file) for name in (settings.known_hosts or _KNOWN_HOSTS) if (file := Path(name).expanduser()).is_file()
    ]
    try:
        made = await asyncssh.connect(target.host, tunnel=through, known_hosts=files or b"", **_named(target))
    except asyncssh.HostKeyNotVerifiable as error:
        port = settings.port if settings.port != asyncssh.DEFAULT_PORT else None
        known = asyncssh.read_known_hosts(files).match(settings.host_key_alias or settings.host, "", port)[0]
        raise _unknown_key(target, settings.port, changed=bool(known)) from error
    made.set_tunnel(through)
    made.set_keepalive(*_ALIVE_S)
    return made


async def _settings(asyncssh: Any, target: Target) -> Any:
    """What the user's configuration says of a target."""
    return await asyncssh.SSHClientConnectionOptions.construct(
        config=(), host=target.host, **_named(target)
    )  # (): ~/.ssh/config


def _named(target: Target) -> dict[str, Any]:
    """What the user said of the target, as asyncssh calls it."""
    return ({"username": target.user} if target.user else {}) | ({"port": target.port} if target.port else {})


def _unknown_key(target: Target, port: int, *, changed: bool) -> HostError:
    if changed:
        return HostError(
            f"{target.name}: its host key is not the one that known_hosts has; another machine may be answering.",
            hint="If you know why it changed, remove the old key with `ssh-keygen -R` and connect once with `ssh`.",
        )
    where = target.host if port == 22 else f"-p {port} {target.host}"
    return HostError(
        f"{target.name}: its host key is not among your known hosts.",
        hint=f"Connect once with `ssh {where}` and compare the fingerprint, or add what `ssh-keyscan {where}` says if "
        "you trust the network.",
    )


@contextlib.contextmanager
def _translated(target: Target) -> Iterator[None]:
    """Other errors in our words.

    Raises:
        HostError: instead of asyncssh's errors and the system's.
    """
    import asyncssh

    try:
        yield
    except EdgelmError:
        raise
    except asyncssh.PermissionDenied as error:
        raise HostError(
            f"{target.name}: login refused for this user ({error.reason}).",
            hint="Try `ssh` with the same name: keys come from ~/.ssh/config, ~/.ssh or the agent (`ssh-add -l`); "
            "passwords are not asked for.",
        ) from error
    except (asyncio.TimeoutError, TimeoutError, concurrent.futures.TimeoutError) as error:
        raise HostError(
            f"{target.name}: no answer within {CONNECT_S} s.", hint="Look whether the host is up and the name is right."
        ) from error
    except socket.gaierror as error:
        raise HostError(
            f"{target.name}: there is no such host ({error.strerror}).",
            hint="Correct the name, or add it to ~/.ssh/config.",
        ) from error
    except ConnectionRefusedError as error:
        raise HostError(
            f"{target.name}: connection refused.",
            hint="Start an SSH server there, or give its port: ssh://user@host:port.",
        ) from error
    except asyncssh.ChannelOpenError as error:
        raise HostError(
            f"{target.name}: the host starts no command ({error.reason}).", hint="Use an account that may run commands."
        ) from error
    except (
        asyncssh.Error,
        OSError,
        ValueError,
    ) as error:  # what else the protocol, the network or a file in ~/.ssh can say
        raise HostError(
            f"{target.name}: {error or type(error).__name__}.", hint="Try `ssh` with the same name."
        ) from error
