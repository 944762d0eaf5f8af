"""The model that a search began with, as the reference of its trials: judged by them, measured once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from edgelm.errors import EdgelmError
from edgelm.search.folder import Folder
from edgelm.search.result import Original
from edgelm.search.trial import COMPRESSED_FILE, with_bytes


def keep_original(folder: Folder, metric: str, trial: Path, measure: Callable[[], float]) -> None:
    """Write down what is known of the original, unless it is there.

    What hinders measuring it is noted and ends no trial: a search needs no reference to go on.

    Args:
        metric: by which trials are judged; with itself the original agrees in full.
        trial: folder of one that is made, whose compression judged the original first.
        measure: p50 of the original (ms).
    """
    if folder.read_original() is not None:
        return
    known = json.loads((trial / COMPRESSED_FILE).read_text(encoding="utf-8"))["original"]
    quality = 1.0 if metric == "agreement" else with_bytes(known["metrics"]).get(metric)
    latency, error = None, ""
    try:
        latency = measure()
    except EdgelmError as found:
        error = found.message
    folder.write_original(Original(quality, latency, known["size_mb"], known["parameters"], error))
