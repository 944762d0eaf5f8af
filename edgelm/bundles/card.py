"""The card of a bundle: written with it, and again once its latency is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgelm.bundles.cpp_example import cpp_line, cpp_program
from edgelm.bundles.edit import add_files
from edgelm.bundles.sbom import sbom_origin, sbom_with_files
from edgelm.cards.bundle import bundle_card
from edgelm.files.claims import claim
from edgelm.model_folder.card import ModelCard, parse_card
from edgelm.runtime import open_bundle
from edgelm.runtime.manifest import CARD_FILE, SBOM_FILE, FileEntry, Manifest

LICENCES_FOLDER = "licenses"
_CONTENTS = f"What is in it, and under which licences: `{SBOM_FILE}` (CycloneDX), `{LICENCES_FOLDER}/`."


def card_text(manifest: Manifest, origin: ModelCard, *, size_mb: float, latency: Sequence[str] = ()) -> str:
    """The text of a bundle's card, as `bundle_card` describes it."""
    program = cpp_program(manifest.task)
    example = cpp_line(program) if program else ""
    return bundle_card(manifest, origin, size_mb=size_mb, example=example, contents=_CONTENTS, latency=latency)


def write_latency(path: str | Path, latency: Sequence[str]) -> str:
    """Write a bundle's card anew, with what was measured of it, and return its text; the manifest and the bill of
    materials list it as it is now.

    Raises:
        BundleError: the bundle is signed.
        OutputInUseError: another process is changing it.
    """
    with claim(open_bundle(path).path.resolve()):
        bundle = open_bundle(path)  # as it is now that nobody else changes it
        manifest = bundle.manifest
        bill = bundle.read(SBOM_FILE) if bundle.has(SBOM_FILE) else None
        origin = parse_card(bundle.read(CARD_FILE).decode()) if bundle.has(CARD_FILE) else ModelCard()
        if not origin.licence and bill is not None:  # a card of an older edgelm says none
            origin = sbom_origin(bill)
        size = sum(entry.size for entry in manifest.files if entry.path not in (CARD_FILE, SBOM_FILE))
        text = card_text(manifest, origin, size_mb=size / 1e6, latency=latency)
        files = {CARD_FILE: text.encode()}
        if bill is not None:
            files[SBOM_FILE] = sbom_with_files(bill, [FileEntry.of(CARD_FILE, files[CARD_FILE])]).encode()
        add_files(bundle, files, manifest)
    return text
