"""From the start of a process to the first token behind a prompt, for `generators.py --cold`.

`generator_cold.py ENGINE PATH THREADS PROMPT` loads a bundle (edgelm) or a GGUF (llama.cpp), reads the prompt's text
and prints the token that comes first: all that a user waits for, the interpreter and its imports too. Modules are
compiled by the first process, which is not counted, as pip compiles those of a package.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TEXT = "The river ran high that spring, and the people of the valley watched it rise"  # 16 tokens of SmolLM2
_HERE = Path(__file__)


def first_token(engine: str, path: str, threads: int, prompt: str) -> int:
    """The likeliest token behind a prompt."""
    if engine == "edgelm":
        from edgelm.runtime import load

        generator = load(path, threads=threads)
        return int(generator.first_logits(generator.reader(prompt)).argmax())
    import llama_cpp

    model = llama_cpp.LlamaCpp(path, threads=threads)
    return int(model.step(model.tokens(prompt)).argmax())


@dataclass
class ColdStart:
    """Starts of one subject: milliseconds by the clock and of CPU time."""

    name: str
    path: Path
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, threads: int) -> None:
        """Start a process once more, and wait for its token."""
        command = [sys.executable, str(_HERE), self.name.partition(":")[0], str(self.path), str(threads), TEXT]
        started = time.perf_counter()
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=kept | {"OMP_NUM_THREADS": "1"}) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            self.wall.append(1000 * (time.perf_counter() - started))
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not said.strip().isdigit():
            raise SystemExit(f"{self.name}: no token came.")
        self.cpu.append(1000 * (usage.ru_utime + usage.ru_stime))

    def row(self) -> str:
        """Its line of the table."""
        cells = [statistics.median(self.wall), min(self.wall), statistics.median(self.cpu)]
        return f"| {self.name} | {' | '.join(f'{cell:.0f}' for cell in cells)} |"


def measure_cold(paths: Mapping[str, Path], *, rounds: int, threads: int) -> None:
    """Start every subject in turn, round after round, and print the table; files are in the system's cache after the
    first round, which is not counted."""
    subjects = [ColdStart(name, path) for name, path in paths.items()]
    for number in range(rounds + 1):
        for subject in subjects:
            subject.run(threads)
            if not number:
                subject.wall.clear()
                subject.cpu.clear()
    print("| subject | ms to the first token | least | CPU ms |\n|---|---|---|---|")
    for subject in subjects:
        print(subject.row())


if __name__ == "__main__":
    print(first_token(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]), flush=True)
