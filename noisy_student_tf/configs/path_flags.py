"""Flags of paths, whose `~` is the home directory.

A shell expands it where a word begins, and not behind `--flag=`.
"""

import os

from absl import flags


class _Path(flags.ArgumentParser):
    """Parses a path, or several separated by commas, in one text."""

    def parse(self, argument: str) -> str:
        """Return the text with home directories in the place of `~`."""
        return ",".join(map(os.path.expanduser, argument.split(",")))


class _Paths(flags.ListParser):
    """Parses a list of paths separated by commas."""

    def parse(self, argument: str | list[str]) -> list[str]:
        """Return the paths with home directories in the place of `~`."""
        return [os.path.expanduser(path) for path in super().parse(argument)]


def define(
    name: str,
    default: str | None,
    text: str,
    *,
    required: bool = False,
    values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Define a flag of a path.

    Args:
        name: Of the flag.
        default: Its value where it is not given.
        text: Its help.
        required: Whether it has to be given.
        values: Where it is defined.
    """
    flags.DEFINE(
        _Path(),
        name,
        default,
        text,
        flag_values=values,
        required=required,
    )


def define_list(
    name: str,
    default: list[str],
    text: str,
    *,
    values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Define a flag of paths separated by commas; see `define`."""
    flags.DEFINE(
        _Paths(),
        name,
        default,
        text,
        flag_values=values,
        serializer=flags.ListSerializer(","),
    )
