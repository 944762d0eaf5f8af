"""A machine without enough memory, under whatever name a library reports it."""

from __future__ import annotations

import atexit
import errno
import sys
import traceback

from edgelm.errors import ResourceError

# Of torch, onnxruntime, the C++ libraries and safetensors, where there is no class for it.
_SIGNS = ("allocate memory", "bad_alloc", "bad allocation", "not enough memory", "out of memory", "std::length_error")


def memory_error(error: BaseException) -> ResourceError | None:
    """The error to show where this one came of a lack of memory, also if a library or edgelm has wrapped it; None: it
    did not.

    What the failed calls held is let go, so that there is memory to say so.
    """
    found: BaseException | None = error
    while found is not None:
        if _lacks_memory(found):
            traceback.clear_frames(found.__traceback__)
            _end_quietly()
            said = str(found).strip().partition("\n")[0][:200]
            return ResourceError(
                f"not enough memory{': ' * bool(said)}{said.rstrip('.')}.",
                hint="End what else runs here, ask for less at once, or take a machine with more.",
            )
        found = found.__cause__
    return None


def _end_quietly() -> None:
    """Have PyTorch not list the times of its compiler as the process ends: where there is no memory for the list, it
    would print why."""
    listing = getattr(sys.modules.get("torch._dynamo.utils"), "dump_compile_times", None)
    if listing is not None:
        atexit.unregister(listing)


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(sign in str(error) for sign in _SIGNS)
