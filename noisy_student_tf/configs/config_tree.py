"""The configuration tree as JSON, as dotted names, as flags, and compared."""

import dataclasses
import difflib
import json
import operator
import os
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from absl import flags

from noisy_student_tf import configs
from noisy_student_tf.configs import options

# Flags belong to the script that has them defined: its --help shows them.
flags.disclaim_key_flags()


def to_json(section: Any) -> str:
    """Return a configuration, or a part of one, as indented JSON."""
    return json.dumps(dataclasses.asdict(section), indent=2) + "\n"


def from_json(text: str) -> configs.Config:
    """Read what `to_json` wrote.

    Raises:
        ValueError: A field is unknown, or a value is not accepted.
    """
    return from_dict(configs.Config, json.loads(text))


def from_dict(section: type, values: dict[str, Any], prefix: str = "") -> Any:
    """Build a section of the tree from nested dictionaries.

    Raises:
        ValueError: A field is unknown, or a value is not accepted.
    """
    hints = typing.get_type_hints(section)
    arguments = {}
    for name, value in values.items():
        if name not in hints:
            nearest = difflib.get_close_matches(name, hints, n=1)
            hint = f" Did you mean {prefix}{nearest[0]}?" if nearest else ""
            raise ValueError(f"Unknown field {prefix}{name}.{hint}")
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(hints[name], value, f"{prefix}{name}.")
        elif isinstance(value, list):
            value = tuple(value)
        elif hints[name] is float:
            value = float(value)
        arguments[name] = value
    return section(**arguments)


def fields(
    section: type = configs.Config, prefix: str = ""
) -> Iterator[tuple[str, Any, dataclasses.Field]]:
    """Yield (dotted name, type, field) of every leaf, in the tree's order.

    A field's metadata are what `options.option` was given.
    """
    hints = typing.get_type_hints(section)
    for field in dataclasses.fields(section):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from fields(typing.cast(type, hint), f"{name}.")
        else:
            yield name, hint, field


def fields_affecting(*affects: options.Affects) -> tuple[str, ...]:
    """Return the dotted names of the fields that affect no more than that.

    "nothing" is of the machine, or measured later: results are the same to
    the bit. With "rounding" too, they may differ by as much.
    """
    return tuple(
        name
        for name, _, field in fields()
        if field.metadata["affects"] in affects
    )


def flatten(section: Any) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of every field, in the order of the tree."""
    for name, _, _ in fields(type(section)):
        yield name, operator.attrgetter(name)(section)


def override(base: configs.Config, values: dict[str, Any]) -> configs.Config:
    """Return a configuration with dotted fields replaced.

    Args:
        base: What the other fields keep.
        values: Dotted name -> new value.

    Raises:
        ValueError: A field is unknown, or a value is not accepted.
    """
    tree = dataclasses.asdict(base)
    for name, value in values.items():
        node = tree
        *path, leaf = name.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    return from_dict(configs.Config, tree)


def differences(first: configs.Config, second: configs.Config) -> list[str]:
    """List the fields in which two configurations differ, a line each."""
    old, new = dict(flatten(first)), dict(flatten(second))
    return [
        f"{name}: {old[name]!r} became {new[name]!r}"
        for name in old
        if old[name] != new[name]
    ]


def define_flags() -> None:
    """Define a flag for every field but the preset.

    Flags are None unless present: the configuration has the values.
    """
    for name, hint, field in fields():
        if name != "preset":
            _define_flag(name, hint, field, None, flags.FLAGS)


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
    declared = {
        name: (hint, field) for name, hint, field in fields(type(section))
    }
    for flag, name in names.items():
        _define_flag(flag, *declared[name], getattr(section, name), values)


def replace_fields(
    section: Any,
    names: Mapping[str, str],
    values: flags.FlagValues = flags.FLAGS,
    *,
    keeps_defaults: bool = True,
) -> Any:
    """Return a section with the values of what `define_fields` defined.

    Args:
        section: What other fields keep.
        names: Flag -> field.
        values: Where the flags are defined.
        keeps_defaults: Whether flags that were not given have a say.

    Raises:
        ValueError: A value is not accepted.
    """
    changes = {
        name: values[flag].value
        for flag, name in names.items()
        if keeps_defaults or values[flag].present
    }
    return dataclasses.replace(section, **changes)


def _define_flag(
    name: str,
    hint: Any,
    field: dataclasses.Field,
    default: Any,
    values: flags.FlagValues,
) -> None:
    text = field.metadata["help"]
    if typing.get_origin(hint) is Literal:
        choices = list(typing.get_args(hint))
        flags.DEFINE_enum(name, default, choices, text, flag_values=values)
        return
    define: Any = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        tuple: flags.DEFINE_list,
    }.get(typing.get_origin(hint) or hint)
    if define is None:
        # Texts are of paths, or have no `~`.
        DEFINE_path(name, default, text, values=values)
        return
    define(name, default, text, flag_values=values)


class _Path(flags.ArgumentParser):
    """Parses a path, or several separated by commas, in one text.

    A shell expands `~` where a word begins, and not behind `--flag=`.
    """

    def parse(self, argument: str) -> str:
        """Return the text with home directories in the place of `~`."""
        return ",".join(map(os.path.expanduser, argument.split(",")))


class _Paths(flags.ListParser):
    """Parses a list of paths separated by commas."""

    def parse(self, argument: str | list[str]) -> list[str]:
        """Return the paths with home directories in the place of `~`."""
        return [os.path.expanduser(path) for path in super().parse(argument)]


def DEFINE_path(
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


def DEFINE_paths(
    name: str,
    default: list[str],
    text: str,
    *,
    values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Define a flag of paths separated by commas; see `DEFINE_path`."""
    flags.DEFINE(
        _Paths(),
        name,
        default,
        text,
        flag_values=values,
        serializer=flags.ListSerializer(","),
    )
