"""What is alike in the folders of other engines: what is refused, the comparison with transformers, and what lies
beside the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgelm.anatomy import load_reference
from edgelm.bundles.hub_files import CONFIG_FILE, bundle_config
from edgelm.cards.engine import Engine, engine_card
from edgelm.errors import MissingExtraError, UsageError, install_extra
from edgelm.export.draft import Draft
from edgelm.export.expected import expected_answers
from edgelm.export.parity import check_parity
from edgelm.export.quality import measure_quality
from edgelm.export.settings import ExportSettings
from edgelm.export.text_steps import parity_texts
from edgelm.files.output import size_on_disk
from edgelm.model_folder.card import read_card
from edgelm.runtime.graph_spec import Parity


def check_engine(form: str, settings: ExportSettings, given: Mapping[str, bool]) -> None:
    """Look whether a folder for an engine can be made here, which has none but CPUs.

    Args:
        form: the format, which is also the name of the engine's package and of the extra that brings it.
        given: options that are of bundles alone, and whether each was given.

    Raises:
        UsageError: another device, or such an option.
        MissingExtraError: the package is not installed.
    """
    if settings.device.kind != "cpu":
        raise UsageError(f"--format {form} is for CPUs, and {settings.device.name} is none.", hint="Give --device cpu.")
    if named := [option for option, there in given.items() if there]:
        raise UsageError(f"{' and '.join(named)}: for bundles, not for --format {form}.", hint="Leave it out.")
    if find_spec(form) is None:
        raise MissingExtraError(f"--format {form} needs the package {form}.", hint=install_extra(form))


def finish_folder(draft: Draft, folder: Path, session: Any, engine: Engine) -> tuple[Parity, dict[str, Any]]:
    """Compare what an engine computes with transformers, and add configuration, tokenizer and card to its folder.

    Args:
        folder: holds the model's own files already.
        session: the engine with them, asked as a session of onnxruntime is.

    Returns:
        how far it is from transformers, and the metrics of both where there are labelled rows.

    Raises:
        ParityError: the engine does not compute what transformers does.
    """
    settings, source, checkpoint = draft.settings, draft.source, draft.checkpoint
    reference = load_reference(checkpoint, allow_pickle=settings.allow_pickle) or source.model
    expected = expected_answers(source.with_model(reference), parity_texts(draft))
    wanted = expected.rows(expected.outputs)
    parity = check_parity(session, wanted, expected.samples, precision=settings.precision)
    rows = draft.evaluation
    quality = {} if rows is None or rows.labels is None else measure_quality(session, source, rows)
    config = json.loads(source.model.config.to_json_string())
    (folder / CONFIG_FILE).write_text(bundle_config(config, type(source.model).__name__), encoding="utf-8")
    source.tokenizer.save_pretrained(folder)
    card = engine_card(
        settings.output.name,
        read_card(checkpoint.path, base=checkpoint.base.path if checkpoint.base else None),
        engine,
        task=source.task,
        family=checkpoint.family,
        precision=settings.precision,
        max_length=source.max_length,
        size_mb=size_on_disk(folder) / 1e6,
        lineage=checkpoint.record.to_dict(),
        parity=parity,
        quality=quality,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return parity, quality
