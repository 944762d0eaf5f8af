"""kill -9 at random moments of every command that makes or changes something: nothing is lost, torn or left over, and
the same command ends as if it had never been killed."""

import json
import random
import re
import shutil
from collections import Counter

import pytest
from bundles import make_bundle
from fake_gpu import equip
from killing import Commands, content
from models import TEXTS, make_checkpoint

from edgelm.runtime.engine_plan import EnginePlan, ShapeRange
from edgelm.runtime.verify import verify

RECIPE = """
name: r
stages:
  - {stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8, samples: 8}
  - {stage: recover, train: {max_steps: 6, batch_size: 4}}
  - {stage: vocabulary, min_count: 1, frequent: 0}
"""
SPACE = """
name: tiny
recipes: [RECIPE]
settings:
  prune.keep_ffn: {low: 0.25, high: 1.0, step: 0.25}
"""
PLAN = EnginePlan(
    (ShapeRange({"batch": (1, 2, 2), "sequence": (1, 8, 32)}),), workspace_mb=256, compute_capability="8.7"
)
JETSON = {"runtimes": ("tensorrt", "onnxruntime-cpu"), "plan": PLAN, "device": "jetson-orin-nano"}
IN_PLACE = ("tune", "build")  # the output is the bundle that is there
WITH_WORKERS = ("tune", "profile")  # whose own CPU is little: moments are of the time that goes by
GOES_ON = ("search", *IN_PLACE)  # without --overwrite
MEASURED = ("search", "tune", "profile")  # what they find is never twice the same
# Kills in the default run, by command; and in the long one.
FEW = {"finetune": 3, "compress": 4, "search": 1, "export": 1, "tune": 1, "build": 2, "profile": 1}
LONG = ("search", "finetune", "export", "compress")  # take minutes, or are cut off at one point elsewhere by default
MANY = {"finetune": 36, "compress": 50, "search": 16, "export": 40, "tune": 10, "build": 30, "profile": 18}


class Place:
    """A command, the folder that its output is alone in, and what is there when it was not killed."""

    def __init__(self, files, commands, folder, command):
        self.files, self.commands, self.command, self.folder = files, commands, command, folder
        self.output = folder / ("out.json" if command == "profile" else "out")

    def words(self, *more):
        files, rows = self.files, ["--data", self.files / "rows.jsonl", "--eval", self.files / "rows.jsonl"]
        train = ["--epochs", 2, "--batch-size", 4]
        space = ["--space", files / "space.yaml", "--trials", 2, "--precision", "fp32", "--runs", 5, "--threads", 1]
        export = ["--calibration", files / "rows.jsonl", "--eval", files / "rows.jsonl"]
        words = {
            "finetune": [files / "encoder", *rows, *train, "--output", self.output],
            "compress": [files / "model", *rows, "--recipe", files / "recipe.yaml", "--output", self.output],
            "search": [files / "model", *rows, *space, "--output", self.output],
            "export": [files / "model", *export, "--output", self.output],
            "tune": [self.output, "--time-limit", 10],
            "build": [self.output],
            "profile": [files / "bundle", "--runs", 20, "--loads", 1, "--threads", 1, "--output", self.output],
        }[self.command]
        return [self.command, *words, *more]

    def lay_old(self):
        """Put there what the command is to change or replace."""
        if self.command == "profile":
            self.output.write_text("old")
        elif self.command in ("finetune", "compress"):
            make_checkpoint(self.output)
            (self.output / "edgelm.json").write_text(json.dumps({"schema": 1, "task": {}}))
        else:
            make_bundle(self.output, **(JETSON if self.command == "build" else {}))

    def state(self):
        """What lies at the output, as far as two runs of the command give the same; None: nothing."""
        if not self.output.exists():
            return None
        if self.command == "search":
            # Killed between drawing a trial and beginning it, a search skips that one and draws another: sure is
            # the recipe as it is, which comes first, and how many trials there are in the end.
            file = self.output / "trials" / "0" / "checkpoint" / "model.safetensors"
            return file.read_bytes() if file.is_file() else b"", len(self.trials())
        if self.command == "tune":
            self.check("optimized.onnx")
            return "tuned" in json.loads((self.output / "manifest.json").read_text())["graphs"][0]["session"]
        if self.command == "profile":
            text = self.output.read_text()
            return text if text == "old" else sorted(json.loads(text))
        found = content(self.output)
        if self.command == "build":
            self.check("engines/")
            listed = {file["path"] for file in json.loads(found["manifest.json"])["files"]}
            return {name: data for name, data in found.items() if name in listed or "/" not in name}
        return found

    def check(self, new):
        """A file is put into a bundle before the manifest that lists it. Until then the bundle works as it did, and
        verify names that file alone."""
        wrong = [check.name for check in verify(self.output).checks if not check.ok]
        assert len(wrong) <= 1 and all(name.startswith(new) for name in wrong), wrong

    def names(self):
        """All that lies beside and in the output, but for what depends on measurements."""
        there = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*")}
        numbers = {number: str(place) for place, number in enumerate(self.trials())}
        there = {re.sub(r"(?<=/trials/)\d+", lambda found: numbers.get(found[0], found[0]), name) for name in there}
        return there - {"out/optimized.onnx"}

    def trials(self):
        """The numbers of a search's trials that are finished, in order."""
        return sorted(
            (file.parent.parent.name for file in self.output.glob("trials/*/checkpoint/edgelm.json")), key=int
        )


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Files for all commands, and the process that runs them."""
    folder = tmp_path_factory.mktemp("kills")
    make_checkpoint(folder / "model")
    make_checkpoint(folder / "encoder", kind="sentence-embedding")
    make_bundle(folder / "bundle")
    rows = [{"text": text, "label": ["negative", "positive"][index % 2]} for index, text in enumerate(TEXTS * 2)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "space.yaml").write_text(SPACE.replace("RECIPE", str(folder / "recipe.yaml")))
    commands = Commands(folder / "commands", path=tuple(equip(folder / "gpu").split(":")))
    yield folder, commands
    commands.close()


def kill_often(house, root, command, count, seed=0):
    """Kill a command so many times, each time in a fresh place, and run it again; how the kills went."""
    files, commands = house
    whole = Place(files, commands, root / "whole" / "place", command)
    for run in ("imports", "measured"):  # the first run imports what it needs
        shutil.rmtree(whole.folder, ignore_errors=True)
        whole.folder.mkdir(parents=True)
        if command in IN_PLACE:
            whole.lay_old()
        ended = commands.run(whole.words())
        assert ended.code == 0, ended.said
        if run == "imports":
            first = whole.state()
    assert whole.state() == first  # the command itself gives the same twice
    moments, seen = random.Random(f"{command} {seed}"), Counter()
    for number in range(count):
        place = Place(files, commands, root / "killed" / "place", command)
        shutil.rmtree(place.folder, ignore_errors=True)
        place.folder.mkdir(parents=True)
        over = command not in GOES_ON and number % 2 == 1
        if over or command in IN_PLACE:
            place.lay_old()
        old = place.state()
        words = place.words(*(["--overwrite"] if over else []))
        share = moments.random()
        if command in WITH_WORKERS:
            killed = commands.run(words, wall_s=share * ended.wall_s)
        else:
            killed = commands.run(words, cpu_s=share * ended.cpu_s)
        told = f"{command}, kill {number} of seed {seed} at {share:.3f}{' with --overwrite' * over}: {killed}"
        assert killed.code in (0, -9), told
        seen["killed" if killed.code else "ended before"] += 1
        found = place.state()
        if command != "search":  # which keeps what it has in its output
            assert found in (old, first), told
        finished = {path.name for path in place.folder.glob("out.work/*") if not path.name.endswith(".training")}
        again = commands.run(words)
        if found == first and command not in GOES_ON and not over:
            assert again.code == 2, f"{told}\n{again}"  # it is there already
            seen["done"] += 1
        else:
            assert again.code == 0, f"{told}\n{again}"
        assert not finished & set(again.stages) or found == first, f"{told}\n{again}"
        seen["stages kept"] += len(finished)
        assert place.state() == first, f"{told}\n{again}"
        assert place.names() == whole.names(), f"{told}\n{again}"
        assert list(commands.temporary.iterdir()) == [], f"{told}\n{again}"
    return seen


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in FEW]
)
def test_a_killed_command_ends_as_one_that_was_not(house, tmp_path, command):
    assert kill_often(house, tmp_path, command, FEW[command])["killed"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("command", MANY)
def test_two_hundred_kills(house, tmp_path, command):
    seen = kill_often(house, tmp_path, command, MANY[command], seed=1)
    print(command, dict(seen))
