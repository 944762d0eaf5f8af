"""`edgelm devices`: list, show, check and copy devices."""

from __future__ import annotations

from typing import Any

from edgelm.cli.files import make_app


def _describe(name: str) -> dict[str, Any]:
    from edgelm.device import load_device

    return load_device(name).to_dict()


app = make_app("devices", _describe, ("name", "kind", "precisions", "title"))
