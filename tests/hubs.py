"""A stand-in for Hugging Face's hub: what its library asks for to upload a model, over HTTP on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_a_test"
LARGE = 4096  # bytes from which a file goes by git's large file storage


@dataclass
class Hub:
    """What was uploaded, and how the hub behaves.

    Attributes:
        files: content by path, of each branch.
        public: repositories that are there and public.
        forbidden: whether the token may write nothing.
    """

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    public: bool = False
    forbidden: bool = False
    asked: list[str] = field(default_factory=list)


@contextmanager
def a_hub(**behaviour: Any) -> Iterator[Hub]:
    """A hub that runs as long as the block."""
    hub = Hub(**behaviour)

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: Hub

    def log_message(self, *words: Any) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, values: Any = None, status: int = 200, **headers: str) -> None:
        data = json.dumps({} if values is None else values).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _refused(self) -> bool:
        self.state.asked.append(f"{self.command} {self.path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid username or password."}, 401)
            return True
        if self.state.forbidden:
            self._answer({"error": "You may not."}, 403)
            return True
        return False

    def do_POST(self) -> None:
        body = self._body()
        if self._refused():
            return
        hub, path = self.state, self.path.partition("?")[0]
        if path == "/api/repos/create":
            hub.private = json.loads(body).get("visibility") == "private" and not hub.public
            self._answer({"url": f"{hub.url}/me/model", "name": "me/model"})
        elif path == "/api/validate-yaml":
            card = json.loads(body)["content"]
            wrong = [] if card.startswith("---\n") else [{"message": "no front matter"}]
            self._answer({"errors": wrong, "warnings": []}, 400 if wrong else 200)
        elif "/branch/" in path:
            hub.files.setdefault(path.rpartition("/")[2], {})
            self._answer()
        elif "/preupload/" in path:
            named = json.loads(body)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > LARGE else "regular",
                    "shouldIgnore": False,
                }
                for file in named
            ]
            self._answer({"files": modes})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                each | {"actions": {"upload": {"href": f"{hub.url}/store/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            self._commit(path.rpartition("/")[2], body)
        else:
            self._answer({"error": path}, 404)

    def _commit(self, branch: str, body: bytes) -> None:
        files = self.state.files.setdefault(branch, {})
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.state.stored[value["oid"]]
        oid = "0" * 40
        self._answer({"commitUrl": f"{self.state.url}/me/model/commit/{oid}", "commitOid": oid})

    def do_PUT(self) -> None:
        data = self._body()  # the address itself is what lets it in
        if hashlib.sha256(data).hexdigest() == self.path.rpartition("/")[2]:
            self.state.stored[self.path.rpartition("/")[2]] = data
        self._answer()

    def do_GET(self) -> None:
        if self._refused():
            return
        path = self.path.partition("?")[0]
        if "/tree/" in path:
            files = self.state.files.get(path.rpartition("/")[2], {})
            self._answer(
                [{"type": "file", "path": name, "oid": "0", "size": len(data)} for name, data in sorted(files.items())]
            )
            return
        self._answer({"id": "me/model", "private": self.state.private, "siblings": [], "tags": []})
