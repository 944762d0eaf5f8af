"""Workers on a Ray cluster: the same trials, as remote tasks. The only file that knows Ray."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from edgelm.errors import InputError, MissingExtraError, install_extra
from edgelm.search.trial import Job, as_values, run_job


class RayWorkers:
    """Trials as tasks of a Ray cluster.

    Every node sees the model and the folder of the search under the same path (a shared disk), and has edgelm
    installed. Latency is not measured by the nodes but where the search was started, for all trials alike.

    Args:
        address: of the cluster, such as `auto` or `ray://head:10001`.
        count: trials at once; None: one a node.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: no cluster answers there.
    """

    def __init__(self, address: str, count: int | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("--ray needs Ray, and it is not installed.", hint=install_extra("ray")) from error
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
            nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        except Exception as error:  # ConnectionError, ValueError, RuntimeError, or gRPC's, by the form of the address
            raise InputError(
                f"no Ray cluster answers at {address!r}: {str(error).splitlines()[0][:160]}",
                hint="`ray status --address ADDRESS` says more.",
            ) from error
        nodes = [cores for cores in nodes if cores >= 1]
        if not nodes:
            raise InputError(
                f"the Ray cluster at {address!r} has no node with a CPU.", hint="Start one: ray start --address ADDRESS"
            )
        self.count = count or len(nodes)
        cores = max(1, int(min(nodes)) // -(-self.count // len(nodes)))  # a node's cores, among its trials
        self._ray = ray
        # A trial that kills its node's process is a result; run again, it would kill the next.
        self._task = ray.remote(num_cpus=cores, max_retries=0)(run_job)
        self._running: dict[int, Any] = {}

    def submit(self, number: int, job: Job) -> Future[dict[str, Any]]:
        """See `Workers`."""
        reference = self._task.remote(as_values(job))
        self._running[number] = reference
        future: Future[dict[str, Any]] = reference.future()
        return future

    def cancel(self, number: int) -> None:
        """See `Workers`."""
        self._ray.cancel(self._running[number], force=True)

    def close(self) -> None:
        """See `Workers`."""
        self._ray.shutdown()
