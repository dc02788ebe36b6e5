"""Flags generated from the configuration tree.

A preset is the base; only flags that are present override it. Flags for paths
and the machine are written by hand in the script that reads them.
"""

import sys
import traceback
from collections.abc import Callable

import tensorflow as tf
from absl import app, flags, logging

from noisy_student_tf import configs
from noisy_student_tf.configs import config_flags, config_tree, presets

# What a user can mend; anything else is ours, and shows its traceback.
_USER_ERRORS = (
    ValueError,
    OSError,
    tf.errors.OpError,
    FloatingPointError,
    ImportError,
)

_USAGE_ERROR_CODE = 2


def define_config_flags() -> None:
    """Define `--preset` and one flag for every field of the tree."""
    flags.DEFINE_string("preset", None, f"One of {', '.join(presets.PRESETS)}.")
    config_flags.define_section(configs.Config, "")


def config_from_flags() -> configs.Config:
    """Return the preset with the flags that are present put over it.

    Raises:
        ValueError: The preset is missing or unknown, or a value is not
            accepted.
    """
    if flags.FLAGS["preset"].value is None:
        raise ValueError(
            f"--preset is missing: choose one of {', '.join(presets.PRESETS)}."
        )
    return override_from_flags(presets.preset(flags.FLAGS["preset"].value))


def override_from_flags(base: configs.Config) -> configs.Config:
    """Return a configuration with the flags that are present put over it.

    Raises:
        ValueError: A value is not accepted.
    """
    values = {}
    for name, current in config_tree.flatten(base):
        flag = flags.FLAGS[name]
        if name == "preset" or not flag.present:
            continue
        is_tuple = isinstance(current, tuple)
        values[name] = (
            [float(part) for part in flag.value or ()]
            if is_tuple
            else flag.value
        )
    return config_tree.override(base, values)


def require(name: str, example: str) -> None:
    """Check that a flag has a value.

    Raises:
        ValueError: It has none.
    """
    if not flags.FLAGS[name].value:
        raise ValueError(
            f"--{name} is missing: give one such as --{name}={example}."
        )


def run(
    main: Callable[[list[str]], None], *, takes_arguments: bool = False
) -> None:
    """Run a script's `main`; errors that a user can mend are one line.

    `--verbosity=1` shows their traceback too.

    Args:
        main: Gets the command line without flags.
        takes_arguments: There may be others than the program's name.
    """

    def guarded(arguments: list[str]) -> None:
        if len(arguments) > 1 and not takes_arguments:
            raise app.UsageError(
                f"unexpected arguments {arguments[1:]}: flags begin with --."
            )
        try:
            main(arguments)
        except _USER_ERRORS as error:
            if logging.level_debug():
                traceback.print_exc()
            print(f"error: {error}", file=sys.stderr)
            sys.exit(_USAGE_ERROR_CODE)

    app.run(guarded)
