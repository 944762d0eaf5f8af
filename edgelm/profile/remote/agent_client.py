"""A client to a device: the other end of its agent. Copy files, start processes, leave; nothing stays behind."""

from __future__ import annotations

import base64
import contextlib
import json
import queue
import shlex
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from edgelm.errors import HostError
from edgelm.profile.remote import agent as agent
from edgelm.profile.remote.connection import Connection

_ALIVE_S = 10.0  # a agent waits six times as long
_ANSWER_S = 120.0  # for what takes no time but for a busy device
_CHUNK = 1 << 18
# the first line on stdin is the program
_BOOT = 'exec(__import__("base64").b64decode(open(0,"rb",0,closefd=False).readline()))'


class AgentClient:
    """A folder on a host, and processes in it, until it is closed or the connection is lost.

    Attributes:
        facts: what the agent found; see `Agent.hello`.
    """

    def __init__(self, connection: Connection, python: str) -> None:
        self.host = connection.target.name
        self._connection = connection
        self._channel = connection.start(f"exec {shlex.quote(python)} -c {shlex.quote(_BOOT)}")
        self._sending = threading.RLock()
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._said: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._over = threading.Event()
        self.facts: dict[str, Any] = {}
        self._channel.send(base64.b64encode(Path(agent.__file__).read_bytes()) + b"\n")
        threading.Thread(target=self._sort, daemon=True).start()
        threading.Thread(target=self._stay_alive, daemon=True).start()
        self.facts = self._answer()
        if "error" in self.facts:
            raise HostError(
                f"{self.host}: {self.facts['error']}.", hint="Free some space there, or set TMPDIR for this user."
            )

    def copy(self, files: Iterable[tuple[str, Path]], tell: Callable[[int], None]) -> None:
        """Copy files: where to, inside the folder, and which. Wheels are unpacked there. `tell` is told how many bytes
        have gone.

        Raises:
            HostError: the disk is full, or the connection was lost.
        """
        sent = 0
        for path, file in files:
            size = file.stat().st_size
            with (
                self._sending,
                file.open("rb") as source,
            ):  # nothing may come between the line and the bytes that it announces
                self._send(do="file", path=path, size=size)
                for start in range(0, size, _CHUNK):
                    data = source.read(min(_CHUNK, size - start))
                    if not self._channel.send(
                        data.ljust(min(_CHUNK, size - start), b"\0")
                    ):  # a file that shrank: its hash will tell
                        raise self._lost()
                    sent += len(data)
                    tell(sent)
            if path.endswith(".whl"):
                self._send(do="unpack", path=path)
        self._send(do="copied")
        trouble = self._answer(patient=True)["trouble"]
        if trouble:
            raise HostError(
                f"{self.host}: the files could not be copied: {trouble}.",
                hint="Free some space there, or set TMPDIR for this user.",
            )

    def start(self, command: list[str], environment: dict[str, str] | None = None) -> RemoteLine:
        """Start Python there with these arguments."""
        number = len(self._said)
        self._said[number] = queue.Queue()
        self._send(do="start", number=number, command=command, environment=environment or {})
        return RemoteLine(self, number)

    def tell(self, number: int, line: str) -> None:
        """Say a line to a process."""
        self._send(do="tell", number=number, line=line)

    def listen(self, number: int) -> dict[str, Any]:
        """What a process says next: its `line`, or how it `ended`.

        Raises:
            HostError: the connection was lost.
        """
        return self._take(self._said[number])

    def end(self, number: int) -> None:
        """End a process."""
        self._send(do="end", number=number)
        while not self._over.is_set() and self.listen(number).get("ended", "") is not None:
            pass

    def close(self) -> None:
        """Leave; the agent takes everything away. Where it cannot any more, the host is asked to."""
        self._send(do="leave")
        left = False
        with contextlib.suppress(HostError):
            while not left:
                left = bool(self._answer().get("left"))
        self._over.set()
        self._channel.close()
        if not left and Path(self.facts.get("folder", "")).name.startswith("edgelm-"):
            with contextlib.suppress(HostError):  # if the connection is gone, the agent has noticed, or will
                self._connection.run(f"rm -rf -- {shlex.quote(self.facts['folder'])}")

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, **values: Any) -> None:
        with self._sending:
            self._channel.send(json.dumps(values).encode() + b"\n")

    def _answer(self, *, patient: bool = False) -> dict[str, Any]:
        return self._take(self._answers, None if patient else _ANSWER_S)

    def _take(self, source: queue.Queue[dict[str, Any]], seconds: float | None = None) -> dict[str, Any]:
        """The next of what comes; looks up every second, since it may be that nothing comes any more."""
        waited = 0.0
        while seconds is None or waited < seconds:
            over = self._over.is_set()  # before looking: what came until then is there
            try:
                return source.get(timeout=1.0 if not over else 0.01)
            except queue.Empty:
                if over:
                    raise self._lost() from None
                waited += 1.0
        raise HostError(
            f"{self.host}: no answer within {seconds:.0f} s.", hint="Look at what else runs there, and try again."
        )

    def _sort(self) -> None:
        """Hand on what comes: to whoever listens to a process, or waits for an answer."""
        while (line := self._channel.lines.get()) is not None:
            try:
                values = json.loads(line) if line.startswith(b"{") else None
            except ValueError:
                values = None
            if values is None:
                continue  # what a login script prints
            number = values.pop("from", None)
            (self._answers if number is None else self._said[number]).put(values)
        self._over.set()

    def _stay_alive(self) -> None:
        while not self._over.wait(_ALIVE_S):
            self._send(do="alive")

    def _lost(self) -> HostError:
        if self._connection.is_open():
            return HostError(
                f"{self.host}: edgelm's process there was ended.",
                hint="Look at the host's memory and its log, and try again.",
            )
        return HostError(
            f"{self.host}: the connection was lost; what was copied is removed there as soon as the host notices "
            f"(within {agent.SILENCE_S} s).",
            hint="Look at the network and at the host, and try again.",
        )


class RemoteLine:
    """A `Channel` to a process on the host."""

    def __init__(self, client: AgentClient, number: int) -> None:
        self._visit, self._number = client, number
        self._ended: dict[str, Any] | None = None

    def exchange(self, line: str) -> str:
        """As in `Channel`."""
        self._visit.tell(self._number, line)
        return self.hear()

    def hear(self) -> str:
        """The next line; empty once the process has ended."""
        if self._ended is None:
            said = self._visit.listen(self._number)
            if "line" in said:
                return str(said["line"])
            self._ended = said
        return ""

    def ending(self) -> str:
        """As in `Channel`."""
        ended = self._ended or {}
        code, errors = ended.get("ended"), ended.get("errors")
        how = f"killed by signal {-code}" if isinstance(code, int) and code < 0 else f"exit code {code}"
        return f"{how} on {self._visit.host}" + (f": {errors}" if errors else "")

    def close(self) -> None:
        """As in `Channel`."""
        if self._ended is None:
            self._visit.end(self._number)
