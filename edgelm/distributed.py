"""One training run on several processes or machines: who this process is, and what all of them do together or one does
for all.

`torchrun` and `accelerate launch` say in the environment how many processes there are. In a plain run there is one, and
every function here does the obvious at once, without torch.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from edgelm.errors import UsageError
from edgelm.files.claims import claim
from edgelm.files.output import disk_errors

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
P = ParamSpec("P")

# torchrun's names, then those of MPI's launchers (MPICH and Intel, Open MPI, MVAPICH): `accelerate launch --cpu` uses
# one of them.
_COUNT = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_INDEX = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_PATIENCE = timedelta(
    minutes=30
)  # how long a process waits for the others; they may be tokenizing, or reading from a slow disk
_GRACE = 3.0  # seconds that a failing process gives the others to fail for the same reason
_FAILED = "failed"
_LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Connection refused",
    "failed to recv",
    "socket closed",
)
_alone = ContextVar("alone", default=False)


def count() -> int:
    """How many processes work on this run; 1 in a plain one."""
    return 1 if _alone.get() else _from_environment(_COUNT, 1)


def index() -> int:
    """Which of them this is, from 0 on."""
    return _from_environment(_INDEX, 0) if count() > 1 else 0


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process works by itself, whatever a cluster has left in its environment."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def is_main() -> bool:
    """Whether this process is the one that writes, draws and prints."""
    return index() == 0


def wait() -> None:
    """Wait until every process has come here."""
    if count() > 1:
        join().wait_for_everyone()


def gather(value: T) -> list[T]:
    """What every process gives, in their order; all of them get it."""
    if count() == 1:
        return [value]
    join()
    from torch import distributed

    values: list[Any] = [None] * count()
    distributed.all_gather_object(values, value)
    return values


def on_main(work: Callable[[], T]) -> T:
    """Let the main process do this once every process has come here; all of them get the result, or the error.

    So nothing is written twice, nothing is read too early, and nobody waits for one that has failed.
    """
    if count() == 1:
        return work()
    wait()
    result: Any = None
    error: Exception | None = None
    if is_main():
        try:
            result = work()
        except Exception as problem:
            error = problem
    result, error = _from_main((result, error))
    if error is not None:
        raise error
    return result


def claims_output(make: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that makes what its keyword `output` names: while it runs, nobody else makes or changes that.

    It raises what `edgelm.files.claims.claim` does, in all processes.
    """

    @functools.wraps(make)
    def alone_at_output(*values: P.args, **options: P.kwargs) -> T:
        output: Any = options["output"]
        with ExitStack() as stack:

            def enter() -> None:
                stack.enter_context(claim(output))

            on_main(enter)
            return make(*values, **options)

    return alone_at_output


def same(value: T) -> T:
    """The main process's value, in all of them: what each works out for itself may differ in its last digits from
    machine to machine."""
    return value if count() == 1 else _from_main(value)


def average(values: torch.Tensor) -> torch.Tensor:
    """The mean over the processes, without gradients."""
    if count() == 1:
        return values
    join()
    from torch import distributed

    total = values.detach().clone()
    distributed.all_reduce(total)
    return total / count()


def with_rows_of_others(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, in their order; only this one's carry gradients."""
    if count() == 1:
        return rows
    import torch

    parts = [part.to(rows.device) for part in gather(rows.detach().cpu())]
    parts[index()] = rows
    return torch.cat(parts)


def meet(folder: Path, key: Callable[[], str]) -> None:
    """Before any work: check that the processes see the same disk and were given the same model, data and settings.

    Args:
        folder: where the output will be made: the main process writes there, the others read.
        key: of everything that the result depends on; asked for only where there are several processes.

    Raises:
        UsageError: they do not.
        ResourceError: the folder cannot be written.
    """
    if count() == 1:
        return
    if len(set(gather(key()))) > 1:
        raise UsageError(
            "the processes were given different models, data or settings.",
            hint="Start the same command on the same files everywhere.",
        )

    def put() -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".edgelm.", dir=folder))

    with disk_errors(folder):
        mark = on_main(put)
        seen = gather(mark.is_dir())
        on_main(mark.rmdir)
    if not all(seen):
        raise UsageError(
            f"process {seen.index(False)} does not see {folder}.",
            hint="Put --output on a disk that all machines share.",
        )


def leave(exit_code: int = 0) -> None:
    """Close the connections to the other processes once all of them are done, at the end of a run that has its result.

    Args:
        exit_code: not 0 where that falls short of a budget: the launcher then ends the processes that are still about
            to leave.
    """
    if count() > 1 and "torch.distributed" in sys.modules:
        from torch import distributed

        if distributed.is_initialized():
            if exit_code:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                wait()
            distributed.destroy_process_group()


def fail(exit_code: int, say: Callable[[], None]) -> int:
    """End the run: the first process to fail says why, and all that fail have its exit code.

    They agree over the launcher's store, which does not care what the others are doing. Where there is none, each
    speaks for itself.
    """
    if count() == 1:
        say()
        return exit_code
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN
    )  # the launcher ends what goes on after a failure; this process is ending by itself
    store = _launcher_store()
    if store is not None and store.add(_FAILED, 1) > 1:
        return int(store.get(f"{_FAILED}/exit_code"))
    say()
    if store is not None:
        store.set(f"{_FAILED}/exit_code", str(exit_code))
        late = time.monotonic() + _GRACE
        while store.add(_FAILED, 0) < count() and time.monotonic() < late:  # the same may happen to all of them
            time.sleep(0.05)
    return exit_code


def lost_another(error: BaseException) -> bool:
    """Whether this error says that another process has ended in the middle of the work."""
    return count() > 1 and isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST)


def join() -> Any:
    """Connect to the other processes, if that is not done yet; Accelerate's state of this run."""
    import torch
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    state = PartialState(cpu=on_cpu, timeout=_PATIENCE)
    if state.num_processes != count():
        raise UsageError(
            f"one of {count()} processes was started here, but they cannot find each other.",
            hint="Start them with torchrun or accelerate launch.",
        )
    return state


def _launcher_store() -> Any:
    """What torchrun keeps for its processes to find each other by; None where there is none (MPI), or where it cannot
    be reached."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*address, is_master=False, timeout=timedelta(seconds=_GRACE), wait_for_workers=False)
        return PrefixStore(f"edgelm/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    except (ImportError, KeyError, ValueError, RuntimeError):
        return None


def _from_main(value: T) -> T:
    join()
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def _from_environment(names: tuple[str, ...], default: int) -> int:
    found = [os.environ[name] for name in names if os.environ.get(name, "").isdigit()]
    return int(found[0]) if found else default
