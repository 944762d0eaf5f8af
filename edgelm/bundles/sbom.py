"""The software bill of materials of a bundle, in CycloneDX: the model and what it came from, every file, what made it,
and what it needs on the device.

Source: OWASP CycloneDX 1.6 (ECMA-424), written by its library.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from importlib.metadata import metadata, version

from cyclonedx.model import HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType, Pedigree
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import fixup_id
from packageurl import PackageURL

from edgelm.model_folder.card import ModelCard
from edgelm.runtime.manifest import FileEntry, Manifest
from edgelm.version import __version__

OWN_LICENCE = "Apache-2.0"
_NEEDED = ("numpy", "onnxruntime", "tokenizers")  # what the runtime that a bundle carries imports
_SERIES = uuid.UUID("f3bb6b5c-7d0c-5a68-9a57-0f3a8d6b4a11")  # of the serial numbers of edgelm's bundles


def sbom_json(manifest: Manifest, files: Sequence[FileEntry], card: ModelCard) -> str:
    """The text of `sbom.cdx.json`: the same for the same bundle.

    Args:
        manifest: of the bundle, but for its files.
        files: that the bundle has beside this one and the manifest.
        card: of the checkpoint.
    """
    model = _model(manifest, card)
    needed = [_edgelm(), *map(_package, _NEEDED)]
    listed = [_file(entry) for entry in files]
    tools = [_tool(name, number) for name, number in sorted(manifest.tools.items())]
    bom = Bom(
        serial_number=_serial_number((entry.path, entry.sha256) for entry in files),
        metadata=BomMetaData(
            timestamp=datetime.fromisoformat(manifest.created),
            component=model,
            tools=ToolRepository(components=tools),
        ),
        components=[*needed, *listed],
    )
    bom.register_dependency(model, needed)
    bom.register_dependency(needed[0], needed[1:])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def sbom_with_files(text: str | bytes, changed: Sequence[FileEntry]) -> str:
    """A bill of `sbom_json` in which these files, which it lists, have other content; all else stays as it is."""
    bill = json.loads(text)
    hashes = {entry.path: entry.sha256 for entry in changed}
    files = [entry for entry in bill["components"] if entry["type"] == "file"]
    for entry in files:
        if entry["name"] in hashes:
            entry["hashes"] = [{"alg": "SHA-256", "content": hashes[entry["name"]]}]
    listed = sorted((entry["name"], entry["hashes"][0]["content"]) for entry in files)
    bill["serialNumber"] = _serial_number(listed).urn
    return json.dumps(bill, indent=2) + "\n"


def sbom_origin(text: str | bytes) -> ModelCard:
    """What a bill of `sbom_json` says of the model's licence and base models."""
    model = json.loads(text)["metadata"]["component"]
    licence: dict[str, str] = next((entry["license"] for entry in model.get("licenses") or []), {})
    known = str(licence.get("id", "")).lower()
    bases = tuple(str(entry["name"]) for entry in (model.get("pedigree") or {}).get("ancestors") or [])
    name = known or str(licence.get("name", ""))
    return ModelCard(name, str(licence.get("url", "")), bases, unlisted=bool(name and not known))


def _serial_number(files: Iterable[tuple[str, str]]) -> uuid.UUID:
    """Of a bill with these files: paths and hashes, by the order of their paths."""
    return uuid.uuid5(_SERIES, "".join(f"{path}\0{sha256}\n" for path, sha256 in files))


def _model(manifest: Manifest, card: ModelCard) -> Component:
    said = {
        "edgelm:task": manifest.task.kind,
        "edgelm:family": manifest.family,
        "edgelm:precision": manifest.precision,
        "edgelm:device": manifest.device or "",
        "edgelm:source": str(manifest.lineage.get("source") or ""),
    }
    bases = [
        Component(type=ComponentType.MACHINE_LEARNING_MODEL, name=name, bom_ref=f"base:{name}")
        for name in card.base_models
    ]
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=manifest.name,
        bom_ref="model",
        licenses=list(_licences(card)),
        pedigree=Pedigree(ancestors=bases) if bases else None,
        properties=[Property(name=name, value=value) for name, value in said.items() if value],
    )


def _licences(card: ModelCard) -> Iterator[License]:
    """By its SPDX identifier, where it has one; else by the name that the card gives it."""
    if not card.licence:
        return
    link = XsUri(card.link) if card.link.startswith(("https://", "http://")) else None
    known = fixup_id(card.licence)
    yield DisjunctiveLicense(id=known, url=link) if known else DisjunctiveLicense(name=card.licence, url=link)


def _edgelm() -> Component:
    return Component(
        type=ComponentType.LIBRARY,
        name="edgelm",
        version=__version__,
        bom_ref="pkg:edgelm",
        purl=PackageURL("pypi", name="edgelm", version=__version__),
        licenses=[DisjunctiveLicense(id=OWN_LICENCE)],
        scope=ComponentScope.REQUIRED,
    )


def _package(name: str) -> Component:
    """A package that the device needs, in the version that the bundle was tried with."""
    number = version(name)
    expression = metadata(name).json.get("license_expression")
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=number,
        bom_ref=f"pkg:{name}",
        purl=PackageURL("pypi", name=name, version=number),
        licenses=[LicenseExpression(str(expression))] if expression else None,
        scope=ComponentScope.REQUIRED,
    )


def _file(entry: FileEntry) -> Component:
    return Component(
        type=ComponentType.FILE,
        name=entry.path,
        bom_ref=f"file:{entry.path}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=entry.sha256)],
    )


def _tool(name: str, number: str) -> Component:
    kind = ComponentType.APPLICATION if name == "edgelm" else ComponentType.LIBRARY
    return Component(
        type=kind, name=name, version=number, bom_ref=f"tool:{name}", purl=PackageURL("pypi", name=name, version=number)
    )
