"""While one measures, nobody works."""

import threading
import time

from edgelm.search.timing_lock import exclusive, shared


def test_workers_stand_still_while_one_measures_and_go_on_afterwards(tmp_path):
    steps = [0, 0, 0]
    end = threading.Event()

    def work(index):
        with shared(tmp_path) as progress:  # locks belong to an open file, not to a process: threads do as well
            while not end.is_set():
                steps[index] += 1
                progress("train", steps[index], 10**6)

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(steps))]
    for thread in threads:
        thread.start()
    seen = []
    for _ in range(5):
        time.sleep(0.05)
        with exclusive(tmp_path):
            before = list(steps)
            time.sleep(0.1)
            seen.append((before, list(steps)))
    deadline = time.monotonic() + 30
    while any(last <= first for first, last in zip(seen[0][1], steps, strict=True)) and time.monotonic() < deadline:
        time.sleep(0.01)
    end.set()
    for thread in threads:
        thread.join(timeout=10)
    assert all(before == after for before, after in seen)
    assert all(last > first for first, last in zip(seen[0][1], steps, strict=True))  # and then they go on
    assert not any(thread.is_alive() for thread in threads)


def test_one_measures_at_a_time(tmp_path):
    inside, most = [0], [0]

    def measure():
        with exclusive(tmp_path):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.05)
            inside[0] -= 1

    threads = [threading.Thread(target=measure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
