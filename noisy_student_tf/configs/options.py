"""What the sections of the configuration share: fields and their checks."""

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Any, Literal

# What a field accepts: the words of a message, and whether a value is in it.
Accepted = tuple[str, Callable[[Any], bool]]

# What a field changes: results; no more than how they are rounded; or nothing
# that a run has made already.
Affects = Literal["results", "rounding", "nothing"]


def option(
    default: Any,
    help: str,
    *,
    accepts: Accepted | None = None,
    affects: Affects = "results",
) -> Any:
    """Declare a field of a section.

    Args:
        default: Its value unless told otherwise.
        help: What its flag shows.
        accepts: Which values it takes. None: numbers of at least 0, and all
            of another type.
        affects: What depends on it.
    """
    if accepts is None and type(default) in (int, float):
        accepts = ("0 or more", lambda value: value >= 0)
    metadata = {"help": help, "accepts": accepts, "affects": affects}
    return dataclasses.field(default=default, metadata=metadata)


# Fields of narrower ranges.
positive = functools.partial(
    option, accepts=("a positive number", lambda value: value > 0)
)
share = functools.partial(
    option, accepts=("in [0, 1]", lambda value: 0 <= value <= 1)
)
share_below_one = functools.partial(
    option, accepts=("in [0, 1)", lambda value: 0 <= value < 1)
)


def check(holds: bool, flag: str, value: object, accepted: str) -> None:
    """Raise ValueError, naming flag, value and what is accepted."""
    if not holds:
        raise ValueError(f"--{flag}={value}: accepted is {accepted}.")


def check_fields(section: Any, prefix: str = "") -> None:
    """Check every field of a section against what it accepts.

    Args:
        section: Of the tree.
        prefix: Of its flags, such as `optimizer.`.

    Raises:
        ValueError: A value is not accepted, or is none of a field's choices.
    """
    hints = typing.get_type_hints(type(section))
    for field in dataclasses.fields(section):
        value, flag = getattr(section, field.name), f"{prefix}{field.name}"
        if typing.get_origin(hints[field.name]) is Literal:
            choices = typing.get_args(hints[field.name])
            check(value in choices, flag, value, f"one of {choices}")
        if accepted := field.metadata.get("accepts"):
            words, holds = accepted
            check(holds(value), flag, value, words)
