"""The most memory that a process held."""

from __future__ import annotations

from pathlib import Path


def peak_mb() -> float:
    """Since this program began, in 10^6 bytes; `getrusage` would count what the process held before it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
