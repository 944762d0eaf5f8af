"""Makes the helpers beside this file importable, keeps tests off the network and both cores, traces a model once, and
leaves related families to the slow tests."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for tests that import onnxruntime before edgelm
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # it has what the process that started it has set, and threads that spin
else:
    os.environ.setdefault("OMP_NUM_THREADS", "2")
sys.path.insert(0, str(Path(__file__).parent))

# How long an example takes is the machine's affair.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Families that share nearly all their code with another: llama, t5, bart, bert or roberta.
RELATED = {"mistral", "qwen2", "qwen3", "t5-gated", "marian", "electra", "xlm-roberta", "camembert"}
# Where they differ: how they are loaded, and what of them can be cut.
OF_EVERY_FAMILY = ("test_generators.py", "test_families.py", "test_sizes.py", "test_loading.py", "test_gguf.py")
# Where each case traces a graph of its own, which takes ten seconds and more on a slow machine, BERT and ModernBERT
# stay: one whose attention the exporter fuses, and one whose it does not.
TRACING = ("test_dialects.py", "test_encoder_families.py", "test_every_task.py", "test_export.py", "test_first_rows.py")
TRACING += ("test_real_builder.py", "test_student_shapes.py")
ALIKE = {"albert", "deberta-v2", "distilbert", "mpnet", "roberta"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        given = {str(value) for value in item.callspec.params.values()} if hasattr(item, "callspec") else set()
        left_out = set() if item.path.name in OF_EVERY_FAMILY else RELATED
        if given & (left_out | (ALIKE if item.path.name in TRACING else set())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has `tune` turn the number of threads alone, so that it ends before its time, however slow the machine is."""
    from edgelm.profile import tune

    knobs = tune._knobs
    monkeypatch.setattr(tune, "_knobs", lambda bundle: knobs(bundle)[:1])


@pytest.fixture
def warm_workers() -> Iterator[None]:
    """Has workers forked from a process that has imported PyTorch, so that they do not; not where memory is read."""
    from warm_workers import warm

    with warm():
        yield


@pytest.fixture(scope="session", autouse=True)
def _traced_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    from traced import exporter_of_kept_nodes, traced_once

    from edgelm.export import text_steps, trace

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    trace.OnnxExporter = exporter_of_kept_nodes(shared / "nodes")
    text_steps.export_graph = trace.export_graph = traced_once(trace.export_graph, shared / "traced")
