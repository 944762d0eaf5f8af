"""How a benchmark ends where it cannot go on: as the command line does, with a clear line and a documented exit
code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from edgelm.errors import EdgelmError


def run(main: Callable[[], None]) -> None:
    """Run a benchmark; an error of edgelm's is printed without its traceback."""
    try:
        main()
    except EdgelmError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
