"""`edgelm finetune` and `edgelm compress` on two processes: as one would do it, written once, said once, and nobody is
left waiting."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from models import TEXTS, make_checkpoint, make_tokenizer
from safetensors.torch import load_file
from typer.testing import CliRunner

from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app

LONGEST = 300  # seconds that a run of a few steps may take on a busy machine; one that hangs would take half an hour
# SGD follows the gradient in proportion, so two runs differ by the rounding of FP32 sums alone (6e-8 of weights around
# 1, some dozens of times). Adam divides by the gradient's own size: there rounding decides which way a weight goes
# whose gradient is nearly nothing.
ROUNDING = 1e-5
TRAIN = "batch_size: 4, optimizer: sgd, learning_rate: 0.05"
RECIPE = f"""
name: r
stages:
  - {{stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8}}
  - {{stage: recover, train: {{{TRAIN}, epochs: 2}}}}
  - {{stage: quantize, samples: 8, train: {{{TRAIN}, epochs: 1}}}}
"""
# Cuts by measured losses, then learns by the closest layers of whole batches and by attention relations.
FIT = f"""
name: r
augment: {{method: noise, copies: 1}}
stages:
  - {{stage: vocabulary, min_count: 1, frequent: 0}}
  - {{stage: fit, speedup: 1.5, samples: 16, judged: 16, tries: 6, multiple: 8}}
  - stage: recover
    loss: {{matching: dynamic, relations: 1.0, relation_heads: 4}}
    train: {{{TRAIN}, epochs: 2}}
"""
# A student of another width: a projection is trained with it, and what it gives is compared by cosines.
NARROW = f"""
name: r
stages:
  - stage: distill
    shape: {{layers: 1, hidden: 16}}
    loss: {{matching: dynamic, relations: 1.0, relation_heads: 4}}
    train: {{{TRAIN}, epochs: 2}}
"""
# Runs the command in sys.argv[2:], and writes down the rows that count in training, one file a process.
WATCH = """
import json, os, sys
from edgelm.compress.batches import Collator
collate = Collator.__call__
def watched(self, rows):
    batch = collate(self, rows)
    if "share" in batch and batch["share"].rows > 0:
        with open(f"{sys.argv[1]}.{os.environ['RANK']}", "a") as file:
            for ids, mask in zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist()):
                file.write(json.dumps([token for token, real in zip(ids, mask) if real]) + "\\n")
    return batch
Collator.__call__ = watched
from edgelm.cli.main import app
app(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An encoder and a teacher without dropout, whose noise differs from process to process; rows that do not fill
    their last batch."""
    folder = tmp_path_factory.mktemp("processes")
    make_checkpoint(folder / "encoder", kind="sentence-embedding", spread=0.1)
    make_checkpoint(folder / "teacher")
    for model in ("encoder", "teacher"):
        config = json.loads((folder / model / "config.json").read_text())
        quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (folder / model / "config.json").write_text(json.dumps(config | quiet))
    for name, count in (
        ("23", 23),
        ("21", 21),
    ):  # a last batch of three rows, two and one; and one of one row: a process has none
        rows = [
            {"text": f"{TEXTS[i % 8]} {i}" + " good" * (i % 4), "label": ["negative", "positive"][i % 2]}
            for i in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 2))
    for name, recipe in (("recipe", RECIPE), ("fit", FIT), ("narrow", NARROW)):
        (folder / f"{name}.yaml").write_text(recipe)
    return folder


def finetune(files, output, *more):
    options = ("--batch-size", 4, "--epochs", 2, "--lr", 0.1, "--optimizer", "sgd", *more)
    return [
        "finetune",
        files / "encoder",
        "--data",
        files / "23.jsonl",
        "--eval",
        files / "23.jsonl",
        "--output",
        output,
        *options,
    ]


def compress(files, output, *more, model="teacher", data="21.jsonl", recipe="recipe"):
    rows = ("--data", files / data, "--eval", files / data)
    return ["compress", files / model, *rows, "--recipe", files / f"{recipe}.yaml", "--output", output, *more]


def alone(command):
    result = CliRunner().invoke(app, [str(part) for part in command])
    assert result.exit_code == 0, result.output
    return result


def start(command, *, program=("-m", "edgelm"), **options):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *program]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*launch, *map(str, command)], env=environment, **pipes, **options)


def together(command, **options):
    """Run a command on two processes, and return its exit code, stdout and stderr."""
    process = start(command, **options)
    try:
        stdout, stderr = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        end(process)
        raise
    return process.returncode, stdout, stderr


def end(launcher):
    for process in (*workers(launcher).values(), launcher):
        process.kill()


def workers(launcher):
    """The processes that a launcher started, by their index."""
    children = psutil.Process(launcher.pid).children(recursive=True)
    return {int(child.environ()["RANK"]): child for child in children if "RANK" in child.environ()}


def difference(first, second):
    first, second = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def exit_codes(stderr):
    """Of the processes, from the launcher's report."""
    return re.findall(r"exitcode\s+: (-?\d+)", stderr)


@pytest.mark.slow
def test_finetune_sees_every_row_once_an_epoch_and_ends_with_the_same_weights(files, tmp_path):
    (tmp_path / "watch.py").write_text(WATCH)
    code, stdout, stderr = together(
        [tmp_path / "watch.py", tmp_path / "seen", *finetune(files, tmp_path / "two", "--json")], program=()
    )
    assert code == 0, stderr
    values = json.loads(stdout)  # one object, from one process
    texts = [json.loads(line)["text"] for line in (files / "23.jsonl").read_text().splitlines()]
    seen = [Counter((tmp_path / f"seen.{index}").read_text().splitlines()) for index in range(2)]
    assert sum(seen, Counter()) == Counter(
        {json.dumps(make_tokenizer()(text)["input_ids"]): 2 for text in texts}
    )  # two epochs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seen.0", "seen.1", "two", "watch.py"]
    alone(finetune(files, tmp_path / "one"))
    assert difference(tmp_path / "one", tmp_path / "two") < ROUNDING
    assert values["metrics"] == pytest.approx(open_checkpoint(tmp_path / "one").record.stages[-1].after)


def test_compress_ends_with_the_same_weights_and_history(files, tmp_path):
    code, stdout, stderr = together(compress(files, tmp_path / "two", "--json"))
    assert code == 0, stderr
    stages = json.loads(stdout)["record"]["stages"]
    assert [path.name for path in tmp_path.iterdir()] == ["two"]
    alone(compress(files, tmp_path / "one"))
    assert difference(tmp_path / "one", tmp_path / "two") < ROUNDING
    for stage, expected in zip(stages, open_checkpoint(tmp_path / "one").record.stages, strict=True):
        assert stage["after"] == pytest.approx(expected.after)


@pytest.mark.slow
def test_cuts_and_what_is_learnt_after_them_are_the_same(files, tmp_path):
    options = ("--unlabelled", files / "text.jsonl", "--json")
    code, stdout, stderr = together(compress(files, tmp_path / "two", *options, recipe="fit"))
    assert code == 0, stderr
    alone(compress(files, tmp_path / "one", *options, recipe="fit"))
    record, expected = json.loads(stdout)["record"], open_checkpoint(tmp_path / "one").record.to_dict()
    assert record["data"].keys() == {"train", "eval", "unlabelled", "augmented"}
    assert all(record[part] == json.loads(json.dumps(expected[part])) for part in ("layers", "tokens", "data"))
    assert record["layers"] != []
    assert difference(tmp_path / "one", tmp_path / "two") < ROUNDING


@pytest.mark.slow
def test_a_budget_that_is_not_met_leaves_the_result_and_ends_all_with_its_code(files, tmp_path):
    code, stdout, stderr = together(compress(files, tmp_path / "out", "--max-size", "0.001MB", "--json", recipe="fit"))
    assert code != 0
    assert [bound["met"] for bound in json.loads(stdout)["budget"]] == [False]
    assert exit_codes(stderr) == ["3", "3"]
    assert "Error:" not in stderr.replace("ChildFailedError:", "")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_what_was_measured_once_cuts_all(files, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _, stdout, stderr = together(
        compress(files, tmp_path / "out", "--max-latency", "0.001ms", "--precision", "fp32", "--json", recipe="fit")
    )
    assert [(bound["name"], bound["source"]) for bound in json.loads(stdout)["budget"]] == [("latency", "measured")], (
        stderr
    )
    assert len(list(tmp_path.glob("cache/**/*.json"))) == 1
    assert exit_codes(stderr) in ([], ["3", "3"])


@pytest.mark.slow
def test_a_narrow_encoder_learns_the_same(files, tmp_path):
    code, _, stderr = together(compress(files, tmp_path / "two", model="encoder", data="text.jsonl", recipe="narrow"))
    assert code == 0, stderr
    alone(compress(files, tmp_path / "one", model="encoder", data="text.jsonl", recipe="narrow"))
    assert difference(tmp_path / "one", tmp_path / "two") < ROUNDING


@pytest.mark.slow
def test_an_error_that_all_meet_is_said_once_and_ends_all_with_its_code(files, tmp_path):
    (tmp_path / "there").mkdir()
    code, stdout, stderr = together(compress(files, tmp_path / "there", "--json"))
    assert code != 0
    assert stdout == ""
    assert stderr.count("Error:") - stderr.count("ChildFailedError:") == 1
    assert "--overwrite" in stderr
    assert exit_codes(stderr) == ["2", "2"]
    assert list(tmp_path.glob("**/*")) == [tmp_path / "there"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "who"), [(signal.SIGKILL, 0), (signal.SIGKILL, 1), (signal.SIGINT, None)], ids=["main", "other", "ctrl-c"]
)
def test_a_run_that_was_cut_off_goes_on_and_ends_with_the_same_weights(files, tmp_path, how, who):
    long = ("--max-steps", 60)
    process = start(finetune(files, tmp_path / "out", *long))
    deadline = time.monotonic() + LONGEST
    while not list(tmp_path.glob("out.work/*/checkpoint-*/whole")) and time.monotonic() < deadline:
        time.sleep(0.01)
    (process if who is None else workers(process)[who]).send_signal(how)
    _, stderr = process.communicate(timeout=LONGEST)
    assert process.returncode != 0, "it ended before it could be cut off"
    assert stderr.count("The same command goes on from the last finished step.") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out.work"]
    code, _, stderr = together(finetune(files, tmp_path / "out", *long))
    assert code == 0, stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    code, _, stderr = together(finetune(files, tmp_path / "whole", *long))
    assert code == 0, stderr
    assert difference(tmp_path / "out", tmp_path / "whole") == 0  # the same sums in the same order


@pytest.mark.slow
def test_one_process_goes_on_where_two_were_cut_off(files, tmp_path):
    process = start(finetune(files, tmp_path / "out", "--max-steps", 60))
    deadline = time.monotonic() + LONGEST
    while not list(tmp_path.glob("out.work/*/checkpoint-*/whole")) and time.monotonic() < deadline:
        time.sleep(0.01)
    workers(process)[1].kill()
    process.communicate(timeout=LONGEST)
    alone(finetune(files, tmp_path / "out", "--max-steps", 60))
    alone(finetune(files, tmp_path / "whole", "--max-steps", 60))
    assert difference(tmp_path / "out", tmp_path / "whole") < 10 * ROUNDING  # many more steps


@pytest.mark.slow
def test_an_encoder_whose_pooler_no_loss_reads_is_trained_too(files, tmp_path):
    code, _, stderr = together(compress(files, tmp_path / "two", model="encoder", data="text.jsonl"))
    assert code == 0, stderr
    alone(compress(files, tmp_path / "one", model="encoder", data="text.jsonl"))
    assert difference(tmp_path / "one", tmp_path / "two") < ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [("--gradient-accumulation", 2), ("--early-stopping", 1, "--evaluations", 2)],
    ids=["accumulation", "early-stop"],
)
def test_settings_mean_the_same_on_two_processes(files, tmp_path, more):
    code, _, stderr = together(finetune(files, tmp_path / "two", "--epochs", 4, *more))
    assert code == 0, stderr
    alone(finetune(files, tmp_path / "one", "--epochs", 4, *more))
    assert difference(tmp_path / "one", tmp_path / "two") < ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "code", "message"), [("nowhere.jsonl", "4", "no such file"), ("21.jsonl", "2", "different models, data")]
)
def test_an_error_of_one_process_ends_the_others(files, tmp_path, data, code, message):
    """The second process is given another file than the first."""
    script = tmp_path / "own.py"
    script.write_text(
        "import os, sys\nfrom edgelm.cli.main import app\n"
        f"app([{str(files / data)!r} if os.environ['RANK'] == '1' and a.endswith('23.jsonl') else a for a in "
        "sys.argv[1:]])\n"
    )
    failed, _, stderr = together([script, *finetune(files, tmp_path / "out")], program=())
    assert failed != 0
    assert stderr.count("Error:") - stderr.count("ChildFailedError:") == 1
    assert message in stderr
    assert code in exit_codes(stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["own.py"]


@pytest.mark.slow
def test_the_processes_of_another_launcher_find_each_other_too(files, tmp_path):
    """As Open MPI starts them for `accelerate launch --cpu`: no launcher's store, and other names in the
    environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names = {
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    command = [sys.executable, "-m", "edgelm", *map(str, finetune(files, tmp_path / "two"))]
    started = [
        subprocess.Popen(
            command, env=os.environ | names | {"OMPI_COMM_WORLD_RANK": index, "OMPI_COMM_WORLD_LOCAL_RANK": index}
        )
        for index in ("0", "1")
    ]
    assert [process.wait(timeout=LONGEST) for process in started] == [0, 0]
    alone(finetune(files, tmp_path / "one"))
    assert difference(tmp_path / "one", tmp_path / "two") < ROUNDING


@pytest.mark.slow
def test_accelerate_launches_the_same_command(files, tmp_path):
    launch = [
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    command = [
        str(Path(sys.executable).with_name("accelerate")),
        "launch",
        *launch,
        "-m",
        "edgelm",
        *map(str, finetune(files, tmp_path / "two")),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LONGEST, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Fine-tuned") == 1
    alone(finetune(files, tmp_path / "one"))
    assert difference(tmp_path / "one", tmp_path / "two") < ROUNDING
