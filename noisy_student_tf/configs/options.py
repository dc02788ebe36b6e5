"""What the sections of the configuration share: fields and their checks."""

import dataclasses
import typing
from typing import Any, Literal


def option(default: Any, help: str) -> Any:
    """Declare a field with the help text that its flag shows."""
    return dataclasses.field(default=default, metadata={"help": help})


def check(holds: bool, flag: str, value: object, accepted: str) -> None:
    """Raise ValueError, naming flag, value and what is accepted."""
    if not holds:
        raise ValueError(f"--{flag}={value}: accepted is {accepted}.")


def check_choices(section: Any, prefix: str) -> None:
    """Check every field of a literal type against its choices."""
    for name, annotation in typing.get_type_hints(type(section)).items():
        choices = typing.get_args(annotation)
        if typing.get_origin(annotation) is Literal:
            value = getattr(section, name)
            check(
                value in choices, f"{prefix}.{name}", value, f"one of {choices}"
            )
