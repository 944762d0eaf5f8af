"""A watcher in this process, with sensors that a test makes up."""

from __future__ import annotations

import json

from edgelm.profile.monitor import Watcher


class WatcherLine:
    """A `Line` to it."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def exchange(self, line: str) -> str:
        return json.dumps(self.watcher.answer(json.loads(line)["do"]))

    def close(self) -> None:
        pass
