"""How to make a bundle and its report again: the commands, the recipe with every setting, the versions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import yaml

_TRAINED = "finetune"


def remake_code(bundle: Mapping[str, Any], profile: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Captions and texts: commands in their order, and the recipe that the stages ran with.

    Files stand there as the bundle tells them, without the folders of the machine that made it. What the lineage does
    not say, such as a checkpoint's folder, has a name that says what belongs there.
    """
    stages = [stage for stage in bundle["lineage"].get("stages") or [] if stage["stage"] != _TRAINED]
    recipe = "recipe.yaml" if stages else None
    found = [("Commands", "\n".join(_commands(bundle, profile, recipe)))]
    if stages:
        values = {
            "name": str(bundle["lineage"].get("recipe") or "remade"),
            "title": f"what {bundle['label']} was made by",
            "seed": stages[0]["seed"],
            "stages": [{"stage": stage["stage"]} | stage["settings"] for stage in stages],
        }
        found.append(("recipe.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip()))
    return tuple(found)


def version_rows(bundle: Mapping[str, Any], profile: Mapping[str, Any] | None) -> list[list[str]]:
    """What was installed where the checkpoint, the bundle and the profile were made: one row a package."""
    places = [bundle["lineage"].get("tools") or {}, bundle["tools"]]
    places.append({} if profile is None else profile["machine"]["versions"])
    names = list(dict.fromkeys(name for place in places for name in place))
    return [[name, *(str(place.get(name, "")) for place in places)] for name in names]


def _commands(bundle: Mapping[str, Any], profile: Mapping[str, Any] | None, recipe: str | None) -> list[str]:
    data = {name: entry["source"] for name, entry in (bundle["lineage"].get("data") or {}).items()}
    quality, calibration = bundle["quality"], bundle["calibration"]
    device = {"--device": bundle["device"]}
    checkpoint = bundle["lineage"].get("source") or "ORIGINAL"
    lines = []
    tuned = next((stage for stage in bundle["lineage"].get("stages") or [] if stage["stage"] == _TRAINED), None)
    if tuned is not None:
        settings = {"--epochs": tuned["settings"].get("epochs"), "--batch-size": tuned["settings"].get("batch_size")}
        settings["--learning-rate"] = tuned["settings"].get("learning_rate")
        lines.append(
            _line(
                "finetune", checkpoint, {"--data": data.get("train"), "--eval": data.get("eval")} | settings, "teacher"
            )
        )
        checkpoint = "teacher"
    if recipe is not None:
        files = {"--data": data.get("train", "TRAIN"), "--eval": data.get("eval", "DEV"), "--recipe": recipe}
        lines.append(_line("compress", checkpoint, files | device, "compressed"))
    settings = {"--precision": bundle["precision"], "--calibration": calibration.get("source")} | {
        "--eval": quality.get("source")
    }
    made = "compressed" if recipe else checkpoint
    lines.append(_line("export", made, device | settings, bundle["path"]))
    if profile is not None:
        counted = {name: profile["settings"].get(name) for name in ("runs", "warmup", "loads", "threads")}
        options = {f"--{name}": value for name, value in counted.items()}
        lines.append(_line("profile", bundle["path"], {"--compare": checkpoint} | options, "profile.json"))
    extra = {"--profile": "profile.json"} if profile is not None else {}
    lines.append(" ".join(["edgelm report", shlex.quote(bundle["path"]), *_words(extra), "--html report.html"]))
    return lines


def _line(command: str, subject: str, options: Mapping[str, Any], output: str) -> str:
    return " ".join([f"edgelm {command}", shlex.quote(subject), *_words(options), "--output", shlex.quote(output)])


def _words(options: Mapping[str, Any]) -> list[str]:
    return [f"{name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None]
