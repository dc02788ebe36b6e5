"""Flags generated from fields of the configuration, with their help."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Literal

from absl import flags


def define_section(section: type, prefix: str) -> None:
    """Define a flag for every field of a section and those below it.

    Flags are None unless present: the configuration has the values.

    Args:
        section: A dataclass of the tree.
        prefix: Stands before the fields' names: `data.`.
    """
    hints = typing.get_type_hints(section)
    for field in dataclasses.fields(section):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        if dataclasses.is_dataclass(hint):
            define_section(typing.cast(type, hint), f"{name}.")
        elif name != "preset":
            _define_field(name, hint, None, field.metadata["help"], flags.FLAGS)


def define_fields(
    section: Any,
    names: Mapping[str, str],
    values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Define flags for some fields of a section.

    Args:
        section: An instance, whose values are the flags' defaults.
        names: Flag -> field.
        values: Where the flags are defined.
    """
    hints = typing.get_type_hints(type(section))
    fields = {field.name: field for field in dataclasses.fields(section)}
    for flag, name in names.items():
        _define_field(
            flag,
            hints[name],
            getattr(section, name),
            fields[name].metadata["help"],
            values,
        )


def replace_fields(
    section: Any,
    names: Mapping[str, str],
    values: flags.FlagValues = flags.FLAGS,
) -> Any:
    """Return a section with the values of what `define_fields` defined.

    Raises:
        ValueError: A value is not accepted.
    """
    return dataclasses.replace(
        section, **{name: values[flag].value for flag, name in names.items()}
    )


def _define_field(
    name: str,
    hint: Any,
    default: Any,
    help_text: str,
    values: flags.FlagValues,
) -> None:
    if typing.get_origin(hint) is Literal:
        flags.DEFINE_enum(
            name,
            default,
            list(typing.get_args(hint)),
            help_text,
            flag_values=values,
        )
        return
    define: Any = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        tuple: flags.DEFINE_list,
    }.get(typing.get_origin(hint) or hint, flags.DEFINE_string)
    define(name, default, help_text, flag_values=values)
