"""The card of a bundle: how it answers, how good, small and fast it is, what it is not, how to make it again."""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.cards.front_matter import eval_results, licence_words, render_card
from edgelm.cards.judged_rows import rows_words
from edgelm.cards.parts import dev_lines, label_lines, limit_lines, metric_lines, remake_lines
from edgelm.cards.remake import remake_code
from edgelm.files.places import told_place
from edgelm.markdown import escaped
from edgelm.model_folder.card import ModelCard
from edgelm.runtime.inputs.files import example_argument
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.saturation import is_proven

_INVENTS = "What it writes may be false, and sound sure of itself."
_UNMEASURED = (
    "Not measured yet: `edgelm profile BUNDLE --output profile.json` does it, and `edgelm card BUNDLE --profile "
    "profile.json` writes it here.",
    "",
)


def bundle_card(
    manifest: Manifest,
    origin: ModelCard,
    *,
    size_mb: float,
    example: str = "",
    contents: str = "",
    latency: Sequence[str] = (),
) -> str:
    """The text of a bundle's README.md.

    Args:
        manifest: of the bundle; its files do not matter.
        origin: what the card of the checkpoint says.
        size_mb: of the bundle, 10^6 bytes.
        example: how the C++ example is built, as a sentence; empty: there is none.
        contents: where the bundle says what is in it, as a sentence.
        latency: what was measured of it, as lines of Markdown; empty: nothing yet.
    """
    task, quality, lineage = manifest.task, manifest.quality, manifest.lineage
    source = told_place(quality["source"]) if quality else None
    results = eval_results(task, lineage, quality["bundle"], str(source)) if quality else []
    described = manifest.to_dict() | {"label": manifest.name, "path": f"{manifest.name}.edge"}
    lines = [
        f"# {escaped(manifest.name)}",
        "",
        f"A {manifest.family} model for {task.kind}, {manifest.precision}, {size_mb:.1f} MB with its runtime, made for "
        f"`{manifest.device}` on {manifest.created}.",
        "",
        *label_lines(task),
        "## Use it",
        "",
        f"Answer: `python run.py {example_argument(task)}`. Check: `python run.py --verify`. Both need only numpy, "
        "tokenizers and onnxruntime.",
        "",
        *([example, ""] if example else []),
        "## Figures",
        "",
        *_quality_lines(manifest, source),
        *_parity_lines(manifest),
        *dev_lines(lineage),
        "## Latency",
        "",
        *(latency or _UNMEASURED),
        *limit_lines(task, lineage, source, _limits(manifest)),
        "## Licence",
        "",
        licence_words(origin) + (f" {contents}" if contents else ""),
        "",
        *remake_lines(lineage, remake_code(described, None), manifest.tools),
    ]
    tags = ["onnx", manifest.precision, *(["quantized"] if manifest.precision.startswith("int") else [])]
    return render_card(
        lines, name=manifest.name, origin=origin, task=task, library="edgelm", tags=tags, results=results
    )


def _quality_lines(manifest: Manifest, source: str | None) -> list[str]:
    quality = manifest.quality
    if not quality or source is None:
        return []
    rows = rows_words(manifest.lineage, source, quality["samples"])
    return [
        f"On {escaped(rows)}:",
        "",
        *metric_lines("checkpoint", "bundle", (quality["checkpoint"], quality["bundle"])),
    ]


def _parity_lines(manifest: Manifest) -> list[str]:
    lines: list[str] = []
    for parity in (graph.parity for graph in manifest.graphs if graph.parity):
        lines += [
            f"Against PyTorch on {parity.samples} texts: largest error {parity.max_error:.3g}, mean "
            f"{parity.mean_error:.3g}, {parity.changed:.2%} of the answers changed.",
            "",
        ]
    return lines


def _limits(manifest: Manifest) -> list[str]:
    reading = manifest.tokenization
    end = {"left": "beginning", "right": "end"}[reading.truncation_side]
    limits = [f"It reads {reading.max_length:,} tokens at most; of a longer text the {end} is left out."]
    if manifest.task.kind == "question-answering":
        limits = [f"It reads {reading.max_length:,} tokens at once, and a longer text in pieces."]
    if manifest.task.generates:
        limits = [f"It reads {reading.max_length:,} tokens at most.", _INVENTS]
    if not is_proven(manifest):
        limits.append("On x86 without VNNI, which sums in 16 bits, it is slower than one that is made for it.")
    return limits
