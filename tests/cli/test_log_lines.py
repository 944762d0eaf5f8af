"""A log without a terminal: a line a step, and lines while a step is silent, but none for what is over at once."""

import threading
import time

from edgelm.cli.log_lines import LogLines
from edgelm.progress import during


def test_short_work_writes_nothing():
    said = []
    lines = LogLines(said.append)
    for done in range(100):
        lines.note("verify", done, 100)
    lines.close()
    assert said == []


def test_each_step_has_a_line_with_what_is_done():
    said = []
    lines = LogLines(said.append, soon=0.0)
    for step in ("prune", "recover"):
        for done in range(3):
            lines.note(step, done, 3)
    lines.close()
    assert said == ["[0:00] prune 0 of 3", "[0:00] recover 0 of 3"]


def test_steps_that_go_on_beside_each_other_are_told_once_and_one_that_begins_again_anew():
    said = []
    lines = LogLines(said.append, soon=0.0)
    for done in range(5):
        lines.note("search (seconds)", done, 60)
        lines.note("trial 0: recover", done, 9)
    lines.note("trial 0: recover", 0, 9)
    lines.close()
    assert said == [
        "[0:00] search (seconds) 0 of 60",
        "[0:00] trial 0: recover 0 of 9",
        "[0:00] trial 0: recover 0 of 9",
    ]


def test_a_step_that_is_over_is_no_news_and_one_that_says_nothing_is_told_soon():
    said = []
    lines = LogLines(said.append, every=0.2, soon=0.1)
    lines.note("export: trace", 0, 1)
    until = time.monotonic() + 20
    while not said and time.monotonic() < until:
        time.sleep(0.01)
    told = len(said)
    lines.note("stage 1 of 2: prune", 1, 1)
    lines.close()
    assert said[0] == "[0:00] export: trace"
    assert not [line for line in said[told:] if "prune" in line]


def test_a_line_names_what_a_step_is_part_of():
    said = []
    lines = LogLines(said.append, soon=0.0)
    for number, stage in enumerate(("distill", "recover"), start=1):
        with during(lines.note, f"stage {number} of 2: {stage}"):
            lines.note("train", 1, 4)
            lines.note("train", 4, 4)
    lines.note("write", 0, 9)
    lines.close()
    assert said == [
        "[0:00] stage 1 of 2: distill",
        "[0:00] stage 1 of 2: distill, train 1 of 4",
        "[0:00] stage 2 of 2: recover",
        "[0:00] stage 2 of 2: recover, train 1 of 4",
        "[0:00] write 0 of 9",
    ]


def test_a_silent_step_is_told_again_until_the_end():
    said = []
    lines = LogLines(said.append, every=0.05)
    lines.note("recover", 7, 90)
    until = time.monotonic() + 20
    while len(said) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    lines.close()
    told = len(said)
    assert told >= 3
    assert {line.split("] ")[1] for line in said} == {"recover 7 of 90"}
    time.sleep(0.2)
    assert len(said) == told


def test_where_no_thread_can_be_had_steps_are_told_all_the_same(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    said = []
    lines = LogLines(said.append, soon=0.0)
    lines.note("teach", 1, 3)
    lines.note("recover", 1, 3)
    lines.close()
    assert said == ["[0:00] teach 1 of 3", "[0:00] recover 1 of 3"]


def test_a_command_writes_them_to_stderr(capsys):
    from edgelm.cli.console import Screen

    screen = Screen(as_json=True, quiet=False, verbose=False)
    screen.progress("export", 1, 3)
    screen._lines._soon = 0.0
    screen.progress("parity", 2, 3)
    screen.close()
    shown = capsys.readouterr()
    assert shown.err == "[0:00] parity 2 of 3\n"
    assert shown.out == ""
