"""What is begun in a thread: its result and its errors arrive, whatever the block before it does."""

import time

import pytest

from edgelm.runtime.early import Early, behind


def test_what_was_begun_gives_its_result_or_its_error():
    assert Early(lambda: 7).result() == 7
    with pytest.raises(ZeroDivisionError):
        Early(lambda: 1 // 0).result()


def test_it_begins_while_a_long_block_runs():
    began = []

    with behind(lambda: began.append(time.perf_counter())) as early:
        early.result()  # of a block that had to end first, it would never come
        ended = time.perf_counter()

    assert began[0] < ended


def test_it_does_not_wait_when_the_block_has_ended(monkeypatch):
    monkeypatch.setattr("edgelm.runtime.early._HEAD_START", 60)

    with behind(lambda: 7) as early:
        pass

    assert early.result() == 7


def test_an_error_of_the_block_is_raised_and_ends_the_waiting(monkeypatch):
    monkeypatch.setattr("edgelm.runtime.early._HEAD_START", 60)

    with pytest.raises(ZeroDivisionError), behind(lambda: 7) as early:
        raise ZeroDivisionError

    assert early.result() == 7
