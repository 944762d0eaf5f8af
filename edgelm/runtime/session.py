"""Makes the inference session of a bundle: threads, providers, and onnxruntime's errors in our words."""

from __future__ import annotations

import os
from typing import Any

from edgelm.errors import BundleError, UsageError
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.manifest import GRAPH_FILE


def make_session(bundle: Bundle, *, threads: int | None = None, provider: str | None = None) -> Any:
    """An onnxruntime `InferenceSession` for the bundle's graph.

    Args:
        threads: within one operator; None: what the manifest says, else one for each core that this process may use.
        provider: an execution provider, such as `cpu` or `cuda`; None: the CPU.

    Raises:
        BundleError: the graph cannot be loaded.
        UsageError: the provider is not there.
    """
    import onnxruntime

    settings = bundle.manifest.session
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or settings.get("intra_op_num_threads") or available_cores()
    options.inter_op_num_threads = 1
    for key, value in settings.get("entries", {}).items():
        options.add_session_config_entry(key, str(value))
    try:
        return onnxruntime.InferenceSession(bundle.graph(), options, providers=[find_provider(provider)])
    except (UsageError, BundleError):
        raise
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        reason = str(error).strip().splitlines()[0][:200]
        raise BundleError(
            f"{bundle.path}: onnxruntime {onnxruntime.__version__} cannot load {GRAPH_FILE}: {reason}", hint="Export it again, or update onnxruntime."
        ) from error


def find_provider(name: str | None) -> str:
    """The execution provider of this short name, such as `cpu`.

    Raises:
        UsageError: it is not in the installed onnxruntime.
    """
    import onnxruntime

    there = {provider.removesuffix("ExecutionProvider").lower(): provider for provider in onnxruntime.get_available_providers()}
    if (name or "cpu").lower() not in there:
        raise UsageError(f"execution provider {name!r} is not in this onnxruntime.", hint=f"There are: {', '.join(sorted(there))}.")
    return there[(name or "cpu").lower()]


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
