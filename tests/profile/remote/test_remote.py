"""What a user of `edgelm profile --host` sees, through the real connection code and a server on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import onnx
import pytest
from bundles import make_bundle

from edgelm.errors import install_extra
from edgelm.runtime.preprocessing import TextProcessing
from edgelm.tasks.text import TextClassification

pytest.importorskip("asyncssh", reason="the extra `remote` is not installed")

from ssh_servers import FAST, Server, Wire, left, run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("remote") / "tiny.edge")


def wait_until_it_works(server: Server) -> None:
    """Until a process has been started on the host."""
    while not any(path.name.startswith("errors-") for path in server.temporary.glob("edgelm-*/*")):
        time.sleep(0.02)


def test_a_host_gives_what_a_profile_here_gives(bundle, serve, tmp_path):
    server = serve()
    output, html = tmp_path / "p.json", tmp_path / "p.html"
    result = run(bundle, "--host", "device", *FAST, "--json", "--output", output, "--html", html)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    here = json.loads(run(bundle, *FAST, "--json", python=None).stdout)["profiles"][0]
    (there,) = values["profiles"]
    assert values["failures"] == {}
    assert there["host"] == "device"
    assert here["host"] is None
    assert there.keys() == here.keys()
    assert there["machine"]["cpu"] == here["machine"]["cpu"]
    assert there["machine"]["busy"].keys() == here["machine"]["busy"].keys()
    assert there["machine"]["busy"]["during"] is not None
    assert len(there["cases"][0]["samples_ms"]) == 20
    assert there["path"] == here["path"]
    assert 20 < there["peak_memory_mb"] < 150
    assert there["memory"][0]["name"] == "system"
    assert there["memory"][0]["total_mb"] == here["memory"][0]["total_mb"]
    assert [row["name"] for row in there["operators"]] and there["load_ms"] > 0
    assert json.loads(output.read_text())["profiles"] == values["profiles"]
    assert "tiny on device" in html.read_text()
    assert left(server) == []
    assert "edgelm-" not in " ".join(server.commands)  # the agent itself took everything away


def test_subjects_take_turns_there_and_an_onnx_file_brings_its_weights(bundle, serve):
    serve()
    result = run(bundle, "--compare", bundle / "model.onnx", "--host", "device", *FAST, "--json")
    assert result.exit_code == 0, result.output
    assert [item["kind"] for item in json.loads(result.stdout)["profiles"]] == ["bundle", "onnx"]


def test_several_hosts_at_once_and_one_that_fails(bundle, serve):
    first, second = serve("first"), serve("second")
    result = run(bundle, "--host", "first", "--host", "nowhere.invalid", "--host", "second", *FAST)
    assert result.exit_code == 1
    assert "tiny on first" in result.stdout
    assert "tiny on second" in result.stdout
    assert "vs tiny on second" in result.stdout
    assert "nowhere.invalid" in result.stderr
    assert left(first) == left(second) == []
    values = json.loads(run(bundle, "--host", "first", "--host", "nowhere.invalid", *FAST, "--json").stdout)
    assert [item["host"] for item in values["profiles"]] == ["first"]
    assert "nowhere.invalid" in values["failures"]["nowhere.invalid"]["error"]


def test_measured_hosts_and_estimated_devices_stand_in_one_table(bundle, serve, tmp_path):
    serve()
    page, file = tmp_path / "p.md", tmp_path / "p.json"
    result = run(
        bundle,
        "--host",
        "device",
        "--with-estimate",
        "raspberry-pi-5",
        "--batch",
        1,
        "--batch",
        2,
        *FAST,
        "--markdown",
        page,
        "--output",
        file,
    )
    assert result.exit_code == 0, result.output
    values = json.loads(file.read_text())
    assert [item["host"] for item in values["profiles"]] == ["device"]
    (entry,) = values["estimates"]
    assert [(case["batch"], case["sequence"]) for case in entry["cases"]] == [
        (1, 4),
        (2, 4),
    ]  # the golden samples have 3 and 4 tokens
    rows = [
        line.strip("| ").split(" | ")
        for line in page.read_text().splitlines()
        if line.startswith("| tiny on") and "ed |" in line
    ]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        (name, batch, source)
        for batch in "12"
        for name, source in (("tiny on device", "measured"), ("tiny on raspberry-pi-5", "estimated"))
    ]
    first = entry["cases"][0]
    assert rows[1][3] == f"{first['p50_ms']:.3g} ({first['low_ms']:.3g} to {first['high_ms']:.3g})"
    for text in (result.stdout, page.read_text()):
        assert "not measured" in " ".join(text.split())


def refused(result, *words: str) -> None:
    """One failure, in one to three lines, without a traceback."""
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) <= 3
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "more", ["", "  UserKnownHostsFile none", "  StrictHostKeyChecking no"], ids=["plain", "none", "not-strict"]
)
def test_an_unknown_host_is_refused_whatever_the_configuration_says(bundle, serve, more):
    server = serve(known=False, more=more)
    refused(run(bundle, "--host", "device", *FAST), "not among your known hosts", "ssh-keyscan -p")
    assert server.commands == []


def test_a_host_whose_key_changed_is_refused(bundle, serve, home):
    server = serve(known=False)
    home.add("other", server.port, home.public)
    refused(run(bundle, "--host", "device", *FAST), "not the one that known_hosts has", "ssh-keygen -R")


def test_a_jump_host_is_used_and_must_be_known_too(bundle, serve, home):
    jump, device = serve("jump", known=False), serve("device", more="  ProxyJump jump")
    refused(run(bundle, "--host", "device", *FAST), "jump", "not among your known hosts")
    home.add("jump", jump.port, jump.host_key)
    assert device.commands == []
    result = run(bundle, "--host", "device", *FAST)
    assert result.exit_code == 0, result.output
    assert jump.connections and not jump.commands


def test_a_key_that_the_host_does_not_take(bundle, serve, home):
    import asyncssh

    serve()
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(home.ssh / "id_ed25519")
    refused(run(bundle, "--host", "device", *FAST), "login refused for this user", "ssh-add -l")


def test_nobody_listens(bundle, home):
    home.add("device", 1, home.public)
    refused(run(bundle, "--host", "device", *FAST), "connection refused", "ssh://")


def test_an_account_that_runs_nothing(bundle, serve):
    serve(answer="This account is currently not available.\n")
    refused(run(bundle, "--host", "device", *FAST), "runs no commands", "not available")


def test_no_python(bundle, serve):
    server = serve()
    refused(
        run(bundle, "--host", "device", *FAST, python="/opt/none/python3"),
        "/opt/none/python3 cannot be run",
        "--python",
    )
    assert left(server) == []


def test_a_python_that_is_too_old(bundle, serve, tmp_path):
    serve()
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho edgelm 3 8\n")
    old.chmod(0o755)
    refused(run(bundle, "--host", "device", *FAST, python=str(old)), "Python 3.8", "too old", "3.10")


def bare_python(folder: Path) -> str:
    """A Python without packages."""
    script = folder / "bare"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_missing_packages_name_the_way_out(bundle, serve, tmp_path):
    server = serve()
    result = run(bundle, "--host", "device", *FAST, python=bare_python(tmp_path))
    refused(result, "numpy, onnxruntime, tokenizers missing", "--install", "--wheels")
    assert left(server) == []


def test_wheels_for_another_architecture(bundle, serve, tmp_path):
    server = serve()
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("numpy-2.0.0", "onnxruntime-1.20.0", "tokenizers-0.20.0"):
        (wheels / f"{name}-cp39-abi3-manylinux_2_17_riscv64.whl").write_bytes(b"")
    result = run(bundle, "--host", "device", *FAST, "--wheels", wheels)
    refused(result, "manylinux_2_17_riscv64.whl does not fit", os.uname().machine, "--install")
    assert left(server) == []


def test_wheels_that_do_not_load_there(bundle, serve, tmp_path):
    """Right by their names, wrong inside: the import says so, before anything is measured."""
    import zipfile

    server = serve()
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("numpy", "onnxruntime", "tokenizers"):
        with zipfile.ZipFile(wheels / f"{name}-9.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{name}/__init__.py", "raise ImportError('wrong ELF class: ELFCLASS64')")
    refused(run(bundle, "--host", "device", *FAST, "--wheels", wheels), "do not load there", "wrong ELF class")
    assert left(server) == []


def test_a_disk_with_too_little_room(bundle, serve, monkeypatch):
    from edgelm.profile.remote import pipeline

    server = serve()
    monkeypatch.setattr(pipeline, "_ROOM", 10**18)
    refused(run(bundle, "--host", "device", *FAST), "MB are to be copied", "MB are free", "TMPDIR")
    assert left(server) == []


def test_a_connection_that_is_lost_leaves_nothing(bundle, serve):
    server = serve()

    def cut() -> None:
        wait_until_it_works(server)
        server.cut()

    threading.Thread(target=cut, daemon=True).start()
    result = run(bundle, "--host", "device", "--runs", 1_000_000, "--warmup", 2, "--loads", 1, "--threads", 1)
    refused(result, "connection was lost", "try again")
    assert left(server) == []


def test_a_network_that_goes_away_silently(bundle, serve, home, monkeypatch):
    from edgelm.profile.remote import connection

    server = serve("behind")
    wire = Wire(server.port)
    home.add("device", wire.port, server.host_key)
    monkeypatch.setattr(connection, "_ALIVE_S", (0.5, 2))

    def freeze() -> None:
        wait_until_it_works(server)
        wire.frozen = True

    threading.Thread(target=freeze, daemon=True).start()
    refused(
        run(bundle, "--host", "device", "--runs", 1_000_000, "--loads", 1, "--threads", 1),
        "connection was lost",
        "within 60 s",
    )
    wire.close()
    assert left(server) == []


def test_a_keeper_that_is_killed_leaves_nothing(bundle, serve):
    """Its folder outlives it; the visitor removes that over the connection that is still there."""
    server = serve()

    def kill() -> None:
        wait_until_it_works(server)
        os.kill(server.pids[-1], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    result = run(bundle, "--host", "device", "--runs", 1_000_000, "--warmup", 2, "--loads", 1, "--threads", 1)
    refused(result, "edgelm's process there was ended")
    assert left(server) == []


@pytest.mark.slow
def test_an_interrupted_profile_leaves_nothing(bundle, serve):
    server = serve()
    options = ("--host", "device", "--python", sys.executable, "--runs", "1000000", "--loads", "1", "--threads", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "edgelm", "profile", str(bundle), *options], stderr=subprocess.PIPE, text=True
    )
    wait_until_it_works(server)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said.startswith("Interrupted.")
    assert len(said.strip().splitlines()) == 1
    assert left(server) == []


def test_an_end_of_all_passes_over_hosts_that_have_finished(serve):
    """Interrupted after the first of two hosts is done, the second still hears of it."""
    from edgelm.errors import HostError
    from edgelm.profile.remote.connection import Connection, read_target
    from edgelm.profile.remote.pipeline import _Open

    serve("first"), serve("second")
    open_now = _Open()
    finished, working = (Connection(read_target(name)) for name in ("first", "second"))
    for connection in (finished, working):
        open_now.add(connection)
    finished.close()
    open_now.abort()
    with pytest.raises(HostError):
        working.run("exit 0")
    working.close()


def test_a_worker_that_crashes_says_how(bundle, serve, tmp_path):
    """A graph on which the runtime dies would look like this: the module that is loaded ends the process."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "onnxruntime.py").write_text(
        "import os, sys\nif 'edgelm.profile.worker' in sys.orig_argv: os._exit(7)\n"
    )
    server = serve(PYTHONPATH=str(tmp_path / "broken"))
    result = run(bundle, "--host", "device", *FAST)
    assert result.exit_code == 4
    assert "exit code 7 on device" in result.stderr
    assert left(server) == []


def pairs_of(folder: Path) -> Path:
    return make_bundle(folder / "pairs.edge", task=TextClassification(labels=("no", "yes"), pair=True))


def short_of(folder: Path) -> Path:
    """A bundle that reads fewer tokens than the first."""
    return make_bundle(folder / "short.edge", tokenization=TextProcessing(max_length=16, pad_id=0, pad_token="[PAD]"))


def cut_of(folder: Path) -> Path:
    made = make_bundle(folder / "cut.edge")
    (made / "model.onnx").write_bytes(b"half of it")
    return made


def graph_of(folder: Path, kind: int, *shape: object) -> Path:
    value = onnx.helper.make_tensor_value_info("input_ids", kind, shape)
    out = onnx.helper.make_tensor_value_info("out", kind, shape)
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["input_ids"], ["out"])], "g", [value], [out])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), folder / "other.onnx")
    return folder / "other.onnx"


def texts_of(folder: Path, *columns: str) -> Path:
    (folder / "texts.csv").write_text(
        "\n".join([",".join(columns), *[",".join(["a good film"] * len(columns))] * 3]) + "\n"
    )
    return folder / "texts.csv"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (lambda folder: ("--sequence", 33), 2, "tiny reads 2 to 32 tokens"),
        (lambda folder: ("--compare", short_of(folder), "--sequence", 20), 2, "tiny reads 2 to 16 tokens"),
        (lambda folder: ("--compare", folder / "none"), 4, "nothing that can be measured"),
        (lambda folder: ("--compare", cut_of(folder)), 4, "model.onnx has 10 bytes"),
        (
            lambda folder: ("--compare", pairs_of(folder)),
            4,
            "reads pairs of texts; those to measure on are single texts",
        ),
        (
            lambda folder: ("--data", texts_of(folder, "sentence1", "sentence2")),
            4,
            "reads single texts; those to measure on are pairs",
        ),
        (
            lambda folder: ("--compare", graph_of(folder, onnx.TensorProto.INT32, "b", "s")),
            4,
            "input_ids is int32; texts give int64",
        ),
        (
            lambda folder: ("--compare", graph_of(folder, onnx.TensorProto.INT64, 1, 8)),
            2,
            "input_ids is [1, 8]; this profile gives [1, 3]",
        ),
        (lambda folder: ("--with-estimate", "cpu"), 2, "devices detect"),
        (lambda folder: ("--wheels", folder / "none"), 2, "is no folder"),
        (lambda folder: ("--wheels", folder), 2, "no wheel of numpy"),
    ],
    ids=[
        "length",
        "other-length",
        "missing",
        "damaged",
        "pairs",
        "data",
        "type",
        "shape",
        "estimate",
        "wheels",
        "no-wheels",
    ],
)
def test_what_no_host_could_measure_is_refused_before_any_is_reached(bundle, serve, tmp_path, options, code, words):
    server = serve()
    result = run(bundle, "--host", "device", *FAST, *options(tmp_path))
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 3
    assert server.connections == []


def test_without_the_extra(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    refused(run(bundle, "--host", "device", *FAST), "asyncssh", install_extra("remote"))


def test_options_that_make_no_sense(bundle, tmp_path):
    assert run(bundle, "--install", python=None).exit_code == 2
    assert run(bundle, "--host", "a b", python=None).exit_code == 2
    assert run(bundle, "--host", "a", "--host", "a", python=None).exit_code == 2
    assert run(bundle, "--host", "a", "--install", "--wheels", tmp_path, python=None).exit_code == 2
