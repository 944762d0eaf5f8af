"""The library built for arm64 and run by an emulator: the bits of every instruction set there are those of plain C++
here."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from native_library import SOURCE
from programs import VOCABULARY, hand_made

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
CPUS = {  # by the emulator's names, and what they run by
    "cortex-a72": ["reference"],  # Raspberry Pi 4
    "cortex-a76": ["neon-dotprod", "reference"],  # Raspberry Pi 5; the cores of Jetson Orin have the same instructions
    "max,sme=off": ["neon-i8mm", "neon-dotprod", "reference"],  # as Jetson Thor
}


@pytest.fixture(scope="module")
def replay(tmp_path_factory) -> Path:
    """A program for arm64 that runs a program on ids; see replay.cpp."""
    for tool in (COMPILER, EMULATOR, "cmake"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("arm64")
    system = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={COMPILER}"]
    source = Path(__file__).with_name("replay.cpp")
    options = ["-O2", "-std=c++17", "-static", "-pthread", f"-I{SOURCE / 'include'}"]
    for command in (
        ["cmake", "-S", SOURCE, "-B", folder, "-DEDGELM_NATIVE_STATIC=ON", *system],
        ["cmake", "--build", folder, "-j2"],
        [COMPILER, *options, source, folder / "libedgelm_native.a", "-o", folder / "replay"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return folder / "replay"


@pytest.mark.slow
@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("largest", [127, 63])
def test_all_sets_give_the_bits_of_plain_cpp(native, replay, tmp_path, cpu, largest):
    made = hand_made(largest=largest)
    (tmp_path / "program").write_bytes(made.text)
    here = native.Encoder(made.text, b"\0", instruction_set="reference")
    random = np.random.default_rng(largest)
    for batch, tokens in ((1, 1), (1, 25), (3, 17)):
        ids = random.integers(0, VOCABULARY, (batch, tokens))
        expected = here({"input_ids": ids})["logits"].ravel().view(np.uint32).tolist()
        sizes = [str(number) for number in (batch, tokens, 2, *ids.ravel())]
        command = [EMULATOR, "-cpu", cpu, replay, tmp_path / "program", *sizes]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert [line.split()[0] for line in lines] == CPUS[cpu]
        for line in lines:
            assert [int(word, 16) for word in line.split()[1:]] == expected, line.split()[0]
