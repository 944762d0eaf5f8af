"""Bundles and archives that an attacker would make: each a change of a sound bundle, with hashes that fit it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from bundles import reseal, set_field
from onnx import TensorProto, helper, numpy_helper

from edgelm.runtime.archive import pack

ESCAPES = [
    *(
        "/etc/passwd",
        "../secret",
        "../../secret",
        "a/../../secret",
        "./model.onnx",
        "a//b",
        "C:\\x",
        "\\\\host\\x",
        "c:x",
    ),
    *(
        "model.onnx/",
        "runtime/../../secret",
        "..",
        ".",
        "",
        " /../secret",
        "~/x",
        "a\x00b",
        "a\nb",
        "a\x1bb",
        "\u202ex",
    ),
    *(
        "file:///etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "weights.bin/../../secret",
        "%2e%2e/secret",
        "..\\secret",
    ),
]
ENTRIES = [
    *("session.model_external_initializers_file_folder_path", "session.use_ort_model_bytes_directly"),
    *("ep.context_file_path", "ep.context_enable", "session.load_model_format", "session.optimized_model_filepath"),
    *("session.qdqisint8allowed", "session.disable_cpu_ep_fallback", "session.set_denormal_as_zero", "x", ""),
    *(
        "session.dynamic_block_base",
        "session.use_env_allocators",
        "session.save_model_format",
        "ep.dynamic.workload_type",
    ),
]
OPERATORS = [
    *(
        "Loop",
        "If",
        "Scan",
        "SequenceMap",
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "Bernoulli",
        "Multinomial",
    ),
]
DOMAINS = [
    "ai.onnx.ml",
    "ai.onnx.training",
    "com.example",
    "pkg.x",
    "com.microsoft.nchwc",
    "org.pytorch.aten",
    "\x1b",
    "x",
]
SHAPES = [[1 << 30], [1 << 40], [1 << 20, 1 << 20], [1 << 16, 1 << 16, 1], [1 << 28]]
NUMBERS: list[Any] = [
    -1,
    0,
    1 << 31,
    1 << 63,
    1 << 70,
    -(1 << 63),
    1.5,
    None,
    True,
    "1",
    [],
    {},
    float("nan"),
    float("inf"),
    10**400,
]

Change = Callable[[Path], None]


@dataclasses.dataclass(frozen=True)
class Case:
    """One forgery.

    Attributes:
        name: of what is wrong.
        change: makes it of a copy of a sound bundle with weights beside its graph.
        archive: whether it is packed afterwards; "only": the change makes an archive beside the folder itself.
    """

    name: str
    change: Change
    archive: bool = False


def cases() -> Iterator[Case]:
    """All of them."""
    for case in [*_paths(), *_settings(), *_graphs(), *_entries()]:
        yield case
        yield dataclasses.replace(case, name=f"{case.name}, in one file", archive=True)
    yield from _in_folders()


def make(case: Case, sound: Path, place: Path) -> Path:
    """The forged bundle, in an empty place."""
    shutil.copytree(sound, place / "b")
    case.change(place / "b")
    if not case.archive:
        return place / "b"
    pack(place / "b", place / "b.edgelm")
    return place / "b.edgelm"


def _sealed(change: Callable[[dict[str, Any]], None]) -> Change:
    return lambda folder: reseal(folder, change) and None


def _paths() -> Iterator[Case]:
    for name in ESCAPES:
        for old in ("weights.bin", "tokenizer.json"):
            yield Case(f"{old} is {name!r}", _renamed(old, name))
        yield Case(f"the graph's file is {name!r}", _sealed(set_field(("graphs", 0, "file"), name)))
        yield Case(f"weights lie in {name!r}", _graph(_location(name)))


def _renamed(old: str, new: str) -> Change:
    def change(values: dict[str, Any]) -> None:
        for entry in values["files"]:
            entry["path"] = new if entry["path"] == old else entry["path"]

    return _sealed(change)


def _settings() -> Iterator[Case]:
    for key in ENTRIES:
        yield Case(f"session entry {key!r}", _sealed(set_field(("graphs", 0, "session"), {"entries": {key: "/etc"}})))
        yield Case(f"session setting {key!r}", _sealed(set_field(("graphs", 0, "session"), {key: "1"})))
    for value in NUMBERS:
        for path in (("tokenization", "max_length"), ("graphs", 0, "opset"), ("schema",)):
            if value != 1 or value is True:
                yield Case(f"{path[-1]} is {value!r:.30}", _sealed(set_field(path, value)))
        yield Case(f"size is {value!r:.30}", _sealed(set_field(("files", 0, "size"), value)))
        if value != "1":  # an axis by its name, which may have any size
            yield Case(f"a shape has {value!r:.30}", _sealed(set_field(("graphs", 0, "outputs", 0, "shape", 1), value)))
    for path in (("graphs",), ("files",), ("task",), ("tokenization",), ("graphs", 0, "inputs"), ("task", "labels")):
        for value in (None, 5, "x", [], {}, [[]], [None]):
            yield Case(f"{path[-1]} is {value!r}", _sealed(set_field(path, value)))


def _graph(change: Callable[[onnx.ModelProto], None]) -> Change:
    def write(folder: Path) -> None:
        model = onnx.load(folder / "model.onnx", load_external_data=False)
        change(model)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        reseal(folder)

    return write


def _location(name: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(each for each in model.graph.initializer if each.external_data)
        next(entry for entry in tensor.external_data if entry.key == "location").value = name

    return change


def _node(operator: str, domain: str = "", **attributes: Any) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        inner = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "inner", [], [])
        bodies = {"Loop": ["body"], "Scan": ["body"], "SequenceMap": ["body"], "If": ["then_branch", "else_branch"]}
        graphs = dict.fromkeys(bodies.get(operator, ()), inner)
        model.graph.node.append(helper.make_node(operator, [], ["unused"], domain=domain, **graphs, **attributes))
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def _asks(operator: str, shape: list[int]) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(shape), "asked"))
        source = [] if operator == "ConstantOfShape" else [model.graph.node[-1].output[0]]
        model.graph.node.append(helper.make_node(operator, [*source, "asked"], ["large"]))

    return change


def _function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("x", "f", ["a"], ["b"], [node], [helper.make_opsetid("", 18)]))


def _training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.name = "x"


def _graphs() -> Iterator[Case]:
    for operator in OPERATORS:
        yield Case(f"operator {operator}", _graph(_node(operator)))
    for domain in DOMAINS:
        for operator in ("Strange", "Add", "MatMul"):
            yield Case(f"operator {operator} of {domain!r}", _graph(_node(operator, domain)))
    for name in ("x", "/etc/passwd", "../x"):
        yield Case(f"EPContext of {name}", _graph(_node("EPContext", "com.microsoft", ep_cache_context=name)))
    for shape in SHAPES:
        for operator in ("ConstantOfShape", "Expand", "Tile"):
            yield Case(f"{operator} of {shape}", _graph(_asks(operator, shape)))
    yield Case("a function", _graph(_function))
    yield Case("training", _graph(_training))
    for dims in ([1 << 40, 4], [-1, 4], [1 << 62, 4], [0, 4], [321, 4]):
        yield Case(f"weights of {dims}", _graph(_dims(dims)))
    for offset in ("-1", "999999999", "18446744073709551615", "x"):
        yield Case(f"weights from {offset}", _graph(_offset(offset)))


def _dims(dims: list[int]) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(each for each in model.graph.initializer if each.external_data)
        del tensor.dims[:]
        tensor.dims.extend(dims)

    return change


def _offset(offset: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(each for each in model.graph.initializer if each.external_data)
        entries = [entry for entry in tensor.external_data if entry.key != "offset"]
        del tensor.external_data[:]
        tensor.external_data.extend([*entries, onnx.StringStringEntryProto(key="offset", value=offset)])
        assert tensor.data_location == TensorProto.EXTERNAL

    return change


def _entries() -> Iterator[Case]:
    for name in (
        "numpy.py",
        "sitecustomize.py",
        "runtime/evil.py",
        "__pycache__/run.cpython-311.pyc",
        ".hidden",
        "a/b/c",
    ):
        yield Case(f"unlisted {name}", _added(name))
    for name in ("weights.bin", "tokenizer.json", "model.onnx", "golden.json"):
        yield Case(f"{name} is missing", _removed(name))
        yield Case(f"{name} is changed", _changed(name))
        yield Case(f"{name} is listed twice", _sealed(_twice(name)))
        yield Case(f"{name} is not listed", _sealed(_unlisted(name)))


def _added(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"raise SystemExit('ran')")

    return change


def _removed(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def _changed(name: str) -> Change:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return change


def _twice(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda values: values["files"].append(next(e for e in values["files"] if e["path"] == name))


def _unlisted(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda values: values.update(files=[entry for entry in values["files"] if entry["path"] != name])


def _in_folders() -> Iterator[Case]:
    """What only a folder can hold, and what only an archive can."""
    for name in ("weights.bin", "tokenizer.json", "model.onnx", "golden.json", "manifest.json"):
        for what, put in _ODD_FILES.items():
            yield Case(f"{name} is {what}", _put(name, put))
    for what, put in _ODD_FILES.items():
        yield Case(f"more: {what}", _put("more", put))


_ODD_FILES: dict[str, Callable[[Path], None]] = {
    "a link out": lambda path: path.symlink_to("/etc/passwd"),
    "a link beside": lambda path: path.symlink_to("run.py"),
    "a loop": lambda path: path.symlink_to(path.name),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to a folder": lambda path: path.symlink_to("/etc"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": lambda path: os.mkfifo(path),
    "a folder": lambda path: path.mkdir(),
}


def _put(name: str, put: Callable[[Path], None]) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        put(folder / name)

    return change


def forged_archives(folder: Path, place: Path) -> Iterator[tuple[str, Path]]:
    """Archives that no packer makes: strange members, members twice, bombs."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    strange = [
        "../secret",
        "/etc/passwd",
        "a/../../secret",
        "x\x1b[2J",
        "numpy.py",
        "a" * 300,
        "../" * 40 + "tmp/x",
        "manifest.json",
    ]
    for number, extra in enumerate(strange):
        file = place / f"{number}.edgelm"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.write(folder / name, name)
            archive.writestr(extra, b"secret")
        yield f"member {extra[:30]!r}", file
    for name in ("weights.bin", "golden.json", "tokenizer.json", "model.onnx"):
        shutil.copytree(folder, place / f"bomb-{name}")
        with (place / f"bomb-{name}" / name).open("wb") as stream:
            stream.truncate(80 << 20)
        values = json.loads((folder / "manifest.json").read_text())
        reseal(place / f"bomb-{name}", lambda made, values=values: made.update(values | {"files": made["files"]}))
        pack(place / f"bomb-{name}", place / f"{name}.bomb.edgelm")
        shutil.rmtree(place / f"bomb-{name}")
        yield f"{name} of blanks", place / f"{name}.bomb.edgelm"
