"""Trials on Ray: the same jobs, as remote tasks; Ray itself is pretended here."""

import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest

from edgelm.errors import InputError, MissingExtraError, install_extra
from edgelm.search import ray_workers as cluster
from edgelm.search.trial import Job

JOB = Job("folder", "rows", "locks", "model", {}, {}, "fp32", 128, False)


@pytest.fixture
def ray(monkeypatch):
    """A module with the part of Ray's interface that is used, running tasks in threads."""
    module = ModuleType("ray")
    module.pool, module.asked, module.cancelled = ThreadPoolExecutor(2), [], []

    def init(address, **options):
        if address == "nowhere":
            raise ConnectionError("nobody there\nat all")
        module.address = address

    class Reference:
        def __init__(self, future):
            self.waits = future

        def future(self):
            return self.waits

    class Task:
        def __init__(self, function):
            self.function = function

        def remote(self, *values):
            return Reference(module.pool.submit(self.function, *values))

    def remote(**options):
        module.asked.append(options)
        return Task

    module.init, module.remote, module.shutdown = init, remote, module.pool.shutdown
    module.nodes = lambda: [
        {"Alive": True, "Resources": {"CPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 16.0}},
        {"Alive": False, "Resources": {}},
    ]
    module.cancel = lambda reference, force: module.cancelled.append((reference, force))
    monkeypatch.setitem(sys.modules, "ray", module)
    return module


def test_a_trial_runs_on_the_cluster_as_it_runs_here(ray, monkeypatch):
    monkeypatch.setattr(cluster, "run_job", lambda values: {"quality": 1.0, "seen": values["folder"]})
    workers = cluster.RayWorkers("auto")
    assert ray.address == "auto"
    assert workers.count == 2  # one a living node
    assert ray.asked == [{"num_cpus": 8, "max_retries": 0}]
    assert workers.submit(0, JOB).result(timeout=10) == {"quality": 1.0, "seen": "folder"}
    workers.cancel(0)
    assert ray.cancelled[0][1] is True
    workers.close()


def test_the_cores_of_a_node_are_shared_among_its_trials(ray):
    cluster.RayWorkers("auto", 5).close()  # three on one of two nodes
    assert ray.asked[0]["num_cpus"] == 2


def test_a_cluster_that_does_not_answer_is_refused(ray):
    with pytest.raises(InputError, match="'nowhere': nobody there"):
        cluster.RayWorkers("nowhere")


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError) as refused:
        cluster.RayWorkers("auto")
    assert refused.value.hint == install_extra("ray")
