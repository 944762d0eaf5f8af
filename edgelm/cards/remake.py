"""How to make a bundle and its report again: the commands, the recipe with every setting, the versions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import yaml

_TRAINED = "finetune"
_TUNED = ("batch_size", "learning_rate")
_RECIPE_FILE, _TEACHER, _COMPRESSED = "recipe.yaml", "teacher", "compressed"


def remake_code(bundle: Mapping[str, Any], profile: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Captions and texts: commands in their order, and the recipe that the stages ran with.

    Files stand there as the bundle tells them, without the folders of the machine that made it. What the lineage does
    not say, such as a checkpoint's folder, has a name that says what belongs there.

    Args:
        bundle: a manifest's values, with a `label` for people and the `path` that the commands name.
        profile: of it; None: it was not measured.
    """
    return _with_recipe(_bundle_commands(bundle, profile), bundle["lineage"], str(bundle["label"]))


def remake_checkpoint(lineage: Mapping[str, Any], name: str) -> tuple[tuple[str, str], ...]:
    """As `remake_code`, of a checkpoint.

    Args:
        lineage: its record, as edgelm.json has it.
        name: of its folder.
    """
    lines, _ = _checkpoint_commands(lineage, lineage.get("device"), name)
    return _with_recipe(lines, lineage, name)


def _with_recipe(lines: list[str], lineage: Mapping[str, Any], name: str) -> tuple[tuple[str, str], ...]:
    found = [("Commands", "\n".join(lines))]
    if stages := _recipe_stages(lineage):
        values = {
            "name": str(lineage.get("recipe") or "remade"),
            "title": f"what {name} was made by",
            "seed": stages[0]["seed"],
            "stages": [{"stage": stage["stage"]} | stage["settings"] for stage in stages],
        }
        found.append((_RECIPE_FILE, yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip()))
    return tuple(found)


def version_rows(bundle: Mapping[str, Any], profile: Mapping[str, Any] | None) -> list[list[str]]:
    """What was installed where the checkpoint, the bundle and the profile were made: one row a package."""
    places = [bundle["lineage"].get("tools") or {}, bundle["tools"]]
    places.append({} if profile is None else profile["machine"]["versions"])
    names = list(dict.fromkeys(name for place in places for name in place))
    return [[name, *(str(place.get(name, "")) for place in places)] for name in names]


def _recipe_stages(lineage: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [stage for stage in lineage.get("stages") or [] if stage["stage"] != _TRAINED]


def _bundle_commands(bundle: Mapping[str, Any], profile: Mapping[str, Any] | None) -> list[str]:
    lineage, device = bundle["lineage"], {"--device": bundle["device"]}
    lines, made = _checkpoint_commands(lineage, bundle["device"], _COMPRESSED if _recipe_stages(lineage) else _TEACHER)
    settings = {"--precision": bundle["precision"], "--calibration": bundle["calibration"].get("source")}
    settings["--eval"] = bundle["quality"].get("source")
    lines.append(_line("export", made, device | settings, bundle["path"]))
    if profile is not None:
        before = _source(lineage) if _tuned(lineage) is None else _TEACHER
        counted = {name: profile["settings"].get(name) for name in ("runs", "warmup", "loads", "threads")}
        options = {f"--{name}": value for name, value in counted.items()}
        lines.append(_line("profile", bundle["path"], {"--compare": before} | options, "profile.json"))
    extra = {"--profile": "profile.json"} if profile is not None else {}
    lines.append(" ".join(["edgelm report", shlex.quote(bundle["path"]), *_words(extra), "--html report.html"]))
    return lines


def _checkpoint_commands(lineage: Mapping[str, Any], device: Any, output: str) -> tuple[list[str], str]:
    """The commands that make a checkpoint, and what the last of them made; the model itself, where there are none."""
    data = {name: entry["source"] for name, entry in (lineage.get("data") or {}).items()}
    lines, made = [], _source(lineage)
    compressed = bool(_recipe_stages(lineage))
    if (tuned := _tuned(lineage)) is not None:
        options = {"--data": data.get("train"), "--eval": data.get("eval"), "--epochs": tuned["settings"].get("epochs")}
        options |= {f"--{name.replace('_', '-')}": tuned["settings"].get(name) for name in _TUNED}
        lines.append(_line(_TRAINED, made, options, _TEACHER if compressed else output))
        made = _TEACHER if compressed else output
    if compressed:
        files = {"--data": data.get("train", "TRAIN"), "--eval": data.get("eval", "DEV"), "--recipe": _RECIPE_FILE}
        lines.append(_line("compress", made, files | {"--device": device}, output))
        made = output
    return lines, made


def _tuned(lineage: Mapping[str, Any]) -> dict[str, Any] | None:
    return next((stage for stage in lineage.get("stages") or [] if stage["stage"] == _TRAINED), None)


def _source(lineage: Mapping[str, Any]) -> str:
    return lineage.get("source") or "ORIGINAL"


def _line(command: str, subject: str, options: Mapping[str, Any], output: str) -> str:
    return " ".join([f"edgelm {command}", shlex.quote(subject), *_words(options), "--output", shlex.quote(output)])


def _words(options: Mapping[str, Any]) -> list[str]:
    return [f"{name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None]
