"""Remote agent: owns one temporary folder and its processes on the device: a folder of its own and the processes in it.
When the line to it ends, both are gone.

Its text is sent over SSH and run by the device's Python: the standard library alone, and nothing is written before the
folder is made. On stdin come JSON lines, `{"do": ...}`; on stdout go `{"from": number, "line": ...}` for what a process
says, other objects for the rest. The line has ended when stdin has (the connection was closed), or when it was silent
for too long (the network went away and nobody told: whoever visits says something every few seconds).
"""

from __future__ import annotations

import compileall
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

SILENCE_S = 60
PACKAGES = ("numpy", "onnxruntime", "tokenizers")
CHUNK = 1 << 16


class Gone(Exception):
    """The line has ended."""


def main() -> None:
    """Make the folder, serve, and leave nothing behind."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, _leave)
    os.umask(0o077)
    try:
        folder = tempfile.mkdtemp(prefix="edgelm-")  # only this user may look inside
    except OSError as error:
        _say({"error": f"no folder for temporary files can be made there: {error.strerror or error}"})
        return
    agent = Agent(Path(folder))
    try:
        _say(agent.hello())
        agent.serve()
    except Gone:
        pass
    finally:
        for end in (signal.SIGTERM, signal.SIGINT):
            signal.signal(end, signal.SIG_IGN)  # what follows must not be interrupted
        agent.end_all()
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(Gone):
        _say({"left": not Path(folder).exists()})


class Agent:
    """The folder, the processes started in it, and what was read from the line but not yet understood."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: dict[int, Any] = {}
        self.said: dict[int, bytes] = {}
        self.rest = b""
        self.trouble: str | None = None  # the first thing that went wrong while files came

    def hello(self) -> dict[str, Any]:
        """What there is to know before anything is copied; sizes in bytes."""
        return {
            "folder": str(self.folder),
            "free": shutil.disk_usage(self.folder).free,
            "python": list(sys.version_info[:3]),
            "implementation": sys.implementation.name,
            "system": platform.system(),
            "machine": platform.machine(),
            "libc": list(platform.libc_ver()),
            "packages": {name: _version(name) for name in PACKAGES},
        }

    def serve(self) -> None:
        """Do what is asked until the line ends."""
        while True:
            command = json.loads(self.read_line())
            do = command.pop("do")
            if do == "leave":
                return
            getattr(self, "do_" + do)(**command)

    def do_alive(self) -> None:
        """Nothing: the visitor is still there."""

    def do_file(self, path: str, size: int) -> None:
        """Write the `size` bytes that follow. After a failure, they are read and dropped until the visitor asks how it
        went."""
        target = self.folder / path
        with contextlib.ExitStack() as stack:
            sink = None
            with self._noting_trouble():
                target.parent.mkdir(parents=True, exist_ok=True)
                sink = stack.enter_context(target.open("wb", buffering=0))
            while size:
                data = self.read(min(size, CHUNK))
                size -= len(data)
                with self._noting_trouble():
                    while data and sink is not None and self.trouble is None:
                        data = data[sink.write(data) :]

    def do_unpack(self, path: str) -> None:
        """Unpack a wheel, as installers do, and remove it."""
        wheel = self.folder / path
        if self.trouble is not None:
            return
        with self._noting_trouble(), zipfile.ZipFile(wheel) as archive:
            for info in archive.infolist():
                parts = info.filename.split("/")
                if parts[0].endswith(".data"):  # NAME.data/purelib/... lies beside the rest
                    if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                        continue
                    info.filename = "/".join(parts[2:])
                if info.filename:
                    archive.extract(info, self.folder / "packages")
            wheel.unlink()

    @contextlib.contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        try:
            yield
        except (OSError, zipfile.BadZipFile) as error:
            self.trouble = self.trouble or getattr(error, "strerror", None) or str(error)

    def do_copied(self) -> None:
        """Say whether all that was sent lies there; compile it first, so that loading does not take longer than where
        it is installed."""
        for part in ("code", "packages"):
            if self.trouble is None:
                compileall.compile_dir(self.folder / part, quiet=2)
        _say({"trouble": self.trouble, "free": shutil.disk_usage(self.folder).free})

    def do_start(self, number: int, command: list[str], environment: dict[str, str]) -> None:
        """Start a process; its errors go into a file, of which the end is told if it dies."""
        path = [str(self.folder / part) for part in ("packages", "code")] + [os.environ.get("PYTHONPATH", "")]
        values = {
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "TMPDIR": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        values |= {"ORT_DISABLE_TELEMETRY": "1"}  # before any process there imports onnxruntime
        values |= dict.fromkeys(
            ("XDG_CACHE_HOME", "CUDA_CACHE_PATH"), str(self.folder / "cache")
        )  # kernels that are compiled for a GPU go too
        try:
            with (self.folder / f"errors-{number}").open("wb") as errors:
                child = subprocess.Popen(
                    [sys.executable, *command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=self.folder,
                    env={**os.environ, **values, **environment},
                    start_new_session=True,
                )
        except OSError as error:
            _say({"from": number, "ended": 1, "errors": error.strerror or str(error)})
            return
        self.children[number], self.said[number] = child, b""

    def do_tell(self, number: int, line: str) -> None:
        """Hand a line to a process."""
        child = self.children.get(number)
        with contextlib.suppress(OSError):  # it ended; its stdout says so
            if child is not None:
                child.stdin.write(line.encode() + b"\n")
                child.stdin.flush()

    def do_end(self, number: int) -> None:
        """End a process, gently first."""
        child = self.children.pop(number, None)
        if child is not None:
            _end(child)
        _say({"from": number, "ended": None})

    def end_all(self) -> None:
        """End every process, at once."""
        for child in self.children.values():
            _kill(child)
            child.wait()

    def read_line(self) -> bytes:
        """The next line from the visitor; what processes say meanwhile is passed on."""
        while b"\n" not in self.rest:
            self._wait()
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def read(self, most: int) -> bytes:
        """Up to `most` bytes from the visitor."""
        while not self.rest:
            self._wait()
        data, self.rest = self.rest[:most], self.rest[most:]
        return data

    def _wait(self) -> None:
        sources = {child.stdout.fileno(): number for number, child in self.children.items()}
        ready, _, _ = select.select([0, *sources], [], [], SILENCE_S)
        if not ready:
            raise Gone
        for source in ready:
            if source == 0:
                data = os.read(0, CHUNK)
                if not data:
                    raise Gone
                self.rest += data
            else:
                self._hear(sources[source])

    def _hear(self, number: int) -> None:
        child = self.children[number]
        data = os.read(child.stdout.fileno(), CHUNK)
        if not data:
            del self.children[number]
            child.stdout.close()
            _say({"from": number, "ended": child.wait(), "errors": self._last_error(number)})
            return
        self.said[number] += data
        while b"\n" in self.said[number]:
            line, _, self.said[number] = self.said[number].partition(b"\n")
            _say({"from": number, "line": line.decode()})

    def _last_error(self, number: int) -> str:
        try:
            text = (self.folder / f"errors-{number}").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text[-4000:].splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""


def _version(package: str) -> str | None:
    """Of a package that can be found, None of another."""
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _end(child: Any) -> None:
    with contextlib.suppress(OSError):
        child.stdin.close()
    try:
        child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        _kill(child)
        child.wait()
    child.stdout.close()


def _kill(child: Any) -> None:
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)  # it leads a group of its own


def _leave(number: int, frame: Any) -> NoReturn:
    raise Gone


def _say(values: dict[str, Any]) -> None:
    data = json.dumps(values).encode() + b"\n"
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        raise Gone from None


if __name__ == "__main__":
    main()
