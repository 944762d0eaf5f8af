"""A mapped file's pages are let go, and what was written into a mapping is not lost."""

import mmap
import sys
from pathlib import Path

import pytest

from edgelm.runtime.pages import release_pages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no system says what is mapped")
SIZE = 1 << 20


@pytest.fixture
def mapped(tmp_path):
    file = tmp_path / "weights of a model.bin"
    file.write_bytes(bytes(range(256)) * (SIZE // 256))
    with file.open("r+b") as stream:
        yield file, mmap.mmap(stream.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def held(file):
    """How many bytes of a mapped file are in the process's memory."""
    _, _, rest = Path("/proc/self/smaps").read_text().partition(str(file))
    return 1024 * int(rest.partition("Rss:")[2].split()[0])


def test_pages_that_were_read_are_let_go_and_read_again(mapped):
    file, memory = mapped
    content = memory[:]
    assert held(file) == SIZE
    assert release_pages(file) == SIZE
    assert held(file) == 0
    assert memory[:] == content


def test_what_was_written_into_a_mapping_stays(mapped):
    file, memory = mapped
    memory[7] = 99
    assert release_pages(file) == 0
    assert memory[7] == 99


def test_a_file_that_is_mapped_nowhere_has_nothing_to_let_go(tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"0123")
    assert release_pages(file) == 0
