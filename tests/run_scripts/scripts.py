"""Runs entry scripts inside the test's process."""

import contextlib
from collections.abc import Iterator
from types import ModuleType

from absl import flags


@contextlib.contextmanager
def parsed_flags(define, *arguments: str) -> Iterator[None]:
    """Define flags, parse arguments, and forget all of it afterwards."""
    before = set(flags.FLAGS)
    define()
    try:
        flags.FLAGS(["script", *arguments])
        yield
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)


def run(script: ModuleType, *arguments: str) -> None:
    """Run a script's `main` as its command line would."""
    with parsed_flags(script.define_flags, *arguments):
        script.main(["script"])
