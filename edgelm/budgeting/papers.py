"""What a bundle's bill of materials and licences weigh, before there are any."""

from __future__ import annotations

from edgelm.files.shipped import shipped_file

_ENTRY = 480  # bytes of a file in the bill of materials, measured


def papers_mb(files: int) -> float:
    """Of a bundle that carries so many files, in 10^6 bytes; what a model's own licences add is not known."""
    return (shipped_file("LICENSE").stat().st_size + _ENTRY * files) / 1e6
