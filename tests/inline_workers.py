"""Workers of a search without a process of their own: what the real ones compute, without the seconds that their
imports take. Real ones make the trial of `edgelm search` in tests/end_to_end/test_documented_commands.py."""

import json
from concurrent.futures import Future

from edgelm.search.trial import as_values, run_job


class Inline:
    count = 1

    def submit(self, number, job):
        future = Future()
        future.set_result(run_job(json.loads(json.dumps(as_values(job)))))
        return future

    def close(self):
        pass


def take_inline(monkeypatch):
    """Has every search of this process use them."""
    monkeypatch.setattr("edgelm.search.pipeline._workers", lambda jobs, ray: Inline())
