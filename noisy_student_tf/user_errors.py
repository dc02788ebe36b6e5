"""Errors that a user can mend are one line; anything else is ours."""

import sys
import traceback
from collections.abc import Callable

from absl import logging

from noisy_student_tf import files

_MENDABLE: tuple[type[Exception], ...] = (
    ValueError,
    FloatingPointError,
    ImportError,
)
_USAGE_ERROR_CODE = 2


def guarded(main: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Return a script's `main` that prints such errors and exits with 2.

    `--verbosity=1` shows their traceback too.
    """

    def run(arguments: list[str]) -> None:
        try:
            main(arguments)
        except _MENDABLE + files.errors() as error:
            if logging.level_debug():
                traceback.print_exc()
            print(f"error: {error}", file=sys.stderr)
            sys.exit(_USAGE_ERROR_CODE)

    return run
