"""Every error that a user can meet: what went wrong, what to do about it, and the exit code.

    EdgelmError                    1  the command failed
    ├── MissingExtraError          1  a package is missing that an extra brings
    ├── ResourceError              1  the machine is out of disk or memory
    ├── HostError                  1  a host that cannot be reached, lacks something, or went away
    ├── HubError                   1  a model hub that cannot be reached, or refuses
    ├── UsageError                 2  the command or call is wrong
    │   ├── OutputExistsError      2  the output is there already
    │   └── OutputInUseError       2  another process is making the output
    └── InputError                 4  the input was read and refused
        ├── DataError              4  rows, columns, labels, texts
        ├── ModelError             4  a checkpoint or model folder
        │   └── UnsupportedFamily  4  an architecture without an anatomy
        ├── RecipeError            4  a recipe file or an override
        ├── SpaceError             4  the space of a search
        ├── DeviceError            4  a device file
        ├── CalibrationError       4  a calibration set that gives no ranges
        ├── ParityError            4  a graph that does not compute what the checkpoint computes
        ├── BundleError            4  a bundle that is broken or cannot be read
        │   └── SignatureError     4  a signature that does not hold, or a key that cannot be used
        └── EngineError            4  a graph that TensorRT cannot build, or an engine with wrong answers

Exit code 3 (done, but the budget was not met) is no error: the result is kept.
"""

from __future__ import annotations

import shlex
from pathlib import Path

_HOME = Path(__file__).resolve().parents[1]  # of a clone, where this is one

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUDGET = 3
EXIT_INPUT = 4
EXIT_INTERRUPTED = 130


class EdgelmError(Exception):
    """Base of all errors that a user can meet.

    Args:
        message: what is wrong and where; received against expected.
        hint: the command or option that repairs it.
    """

    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class MissingExtraError(EdgelmError):
    """A package is missing; the hint is the command that installs the extra which brings it, see `install_extra`."""


def install_extra(*names: str, upgrade: bool = False) -> str:
    """The command that installs extras beside this edgelm: into the clone that it runs from, else by its name."""
    words, extras = "pip install" + (" --upgrade" if upgrade else ""), f"[{','.join(names)}]"
    if (_HOME / "pyproject.toml").is_file():
        return f"{words} -e {shlex.quote(f'{_HOME}{extras}')}"
    return f"{words} 'edgelm{extras}'"


class ResourceError(EdgelmError):
    """The machine has no room (disk, memory) for the work."""


class HostError(EdgelmError):
    """A host that cannot be reached over SSH, lacks what a profile needs, or went away."""


class HubError(EdgelmError):
    """A model hub that cannot be reached, or that refuses what it is sent."""


class UsageError(EdgelmError):
    """The command or call is wrong: an unknown name, options that exclude each other."""

    exit_code = EXIT_USAGE


class OutputExistsError(UsageError):
    """The output is there already and may not be overwritten."""


class OutputInUseError(UsageError):
    """Another process is making or changing the output."""


class InputError(EdgelmError):
    """The input was read and refused."""

    exit_code = EXIT_INPUT


class DataError(InputError):
    """Rows, columns, labels or texts that cannot be used."""


class ModelError(InputError):
    """A model folder that cannot be used."""


class UnsupportedFamily(ModelError):
    """An architecture that has no anatomy here."""


class RecipeError(InputError):
    """A recipe that cannot be used."""


class SpaceError(InputError):
    """A search space that cannot be used."""


class ProjectError(InputError):
    """A project file (`edgelm.yaml`) that cannot be used."""


class DeviceError(InputError):
    """A device file that cannot be used."""


class CalibrationError(InputError):
    """A calibration set that gives no ranges."""


class ParityError(InputError):
    """An exported graph that does not compute what the checkpoint computes."""


class BundleError(InputError):
    """A bundle that is broken, changed or made by a newer edgelm."""


class SignatureError(BundleError):
    """A signature that is missing, broken, or of another key or bundle; or a key that cannot be used."""


class EngineError(InputError):
    """A graph that TensorRT cannot make an engine of, or an engine whose answers are wrong."""


class DataWarning(UserWarning):
    """Rows that were read, but perhaps not as they were meant."""
