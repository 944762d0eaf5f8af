"""Runs trials in a process of its own: `python -m edgelm.search.worker`, told by JSON lines on stdin.

A trial that needs too much memory, or crashes in native code, ends this process and not the search.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading


def main() -> None:
    """Run jobs until stdin closes, which also ends a job that runs: nobody would hear of its result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the leading process decides
    out = sys.stdout
    sys.stdout = sys.stderr  # nothing that a library prints may end up among the answers
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()

    from edgelm.search.trial import run_job

    while True:
        answer = run_job(json.loads(lines.get()))
        out.write(json.dumps(answer) + "\n")
        out.flush()


def _listen(lines: queue.Queue[str]) -> None:
    """Pass lines on; when the leading process has gone, even by SIGKILL, go at once: the trial's next worker may start
    any moment."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
