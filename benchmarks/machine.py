"""What a table was measured on: the line that every benchmark with latencies begins with."""

from __future__ import annotations

import sys

from edgelm.hardware.machine import describe_machine


def print_machine(*, aside: bool = False) -> None:
    """Name the CPU, the cores that may be used, its instruction sets and onnxruntime's version; `aside`, where stdout
    is JSON, on stderr."""
    machine = describe_machine()
    sets = " ".join(machine.instructions) or "none that edgelm knows"
    line = (
        f"# {machine.cpu}, {machine.cores} cores, instruction sets: {sets}; onnxruntime "
        f"{machine.versions.get('onnxruntime', '-')}"
    )
    print(line, file=sys.stderr if aside else sys.stdout, flush=True)
