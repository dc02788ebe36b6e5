"""Flags generated from the configuration tree.

A preset is the base; only flags that are present override it. Flags for paths
and the machine are written by hand in the script that reads them.
"""

import getpass
import sys
from collections.abc import Callable

from absl import app, flags

from noisy_student_tf import configs, files, terminal, workdirs
from noisy_student_tf.configs import config_tree, presets


def define_run_flags() -> None:
    """Define `--workdir` and the flags of the configuration."""
    define_config_flags()
    config_tree.DEFINE_path(
        "workdir", None, "Directory of the run, local or remote."
    )
    flags.DEFINE_list(
        "profile_steps",
        None,
        "Two steps, such as 100,120: between them every training is profiled "
        "for TensorBoard.",
    )


def define_iteration_flag(help_text: str) -> None:
    """Define `--iteration`, which names a student."""
    flags.DEFINE_integer("iteration", 1, help_text, lower_bound=0)


def define_runtime_flag() -> None:
    """Define `--runtime`, which computes an export's answers."""
    flags.DEFINE_string(
        "runtime",
        "auto",
        "What computes: saved_model, onnxruntime, tflite, tflite_float16 or "
        "tflite_int8, which run_scripts.export wrote beside the SavedModel; "
        "auto: the fastest that is installed and was measured equal.",
    )


def define_corrections_flags() -> None:
    """Define the flags that say whose decisions lie where."""
    config_tree.DEFINE_paths(
        "corrections",
        [],
        "Files of people's decisions. Empty: corrections.jsonl in --workdir.",
    )
    flags.DEFINE_string(
        "who", "", "Whose decisions are new ones. Empty: the account's name."
    )


def corrections_paths(workdir: workdirs.Workdir) -> list[str]:
    """Return the files of people's decisions that the flags name."""
    return flags.FLAGS.corrections or [workdir.corrections]


def person() -> str:
    """Return whose decisions new ones are."""
    return flags.FLAGS.who or getpass.getuser()


def define_config_flags() -> None:
    """Define `--preset` and one flag for every field of the tree."""
    flags.DEFINE_string("preset", None, f"One of {', '.join(presets.PRESETS)}.")
    config_tree.define_flags()


class _YesOrWord(flags.ArgumentParser):
    """Parses a boolean, or one word beside it."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._boolean = flags.BooleanParser()

    def parse(self, argument: str | bool) -> str | bool:
        """Return True, False or the word.

        Raises:
            ValueError: It is neither.
        """
        if argument == self._word:
            return argument
        return bool(self._boolean.parse(argument))


def DEFINE_yes_or_word(name: str, word: str, help_text: str) -> None:
    """Define a flag that is given as `--name`, or as `--name=word`."""
    flags.DEFINE_flag(
        flags.Flag(_YesOrWord(word), None, name, False, help_text, boolean=True)
    )


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
    base = presets.preset(flags.FLAGS["preset"].value)
    labeled = flags.FLAGS["data.labeled"]
    if labeled.present:
        base = presets.for_images(base, labeled.value or "")
    return override_from_flags(base)


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


def settings_from_flags() -> tuple[configs.Config, workdirs.Workdir]:
    """Return the configuration and the folders that the flags name.

    Without `--preset`, the configuration is that of the existing run.

    Raises:
        ValueError: `--workdir` or `--preset` is missing or not accepted.
        FileNotFoundError: There is neither a preset nor an existing run.
    """
    require("workdir", "runs/digits")
    workdir = workdirs.named(flags.FLAGS.workdir)
    if flags.FLAGS.preset is None and files.exists(workdir.config):
        return override_from_flags(workdirs.read_config(workdir)), workdir
    return config_from_flags(), workdir


def run_settings() -> tuple[
    configs.Config, workdirs.Workdir, tuple[int, int] | None
]:
    """Return what a stage's run is started with; see `stages.runs.start`.

    Raises:
        ValueError, FileNotFoundError: See `settings_from_flags`, or
            --profile_steps is not accepted.
    """
    return *settings_from_flags(), _profile_steps()


def _profile_steps() -> tuple[int, int] | None:
    """Return the two steps of --profile_steps, or None.

    Raises:
        ValueError: They are none.
    """
    given = flags.FLAGS.profile_steps
    if not given:
        return None
    if len(given) == 2 and all(part.isdigit() for part in given):
        first, last = map(int, given)
        if first < last:
            return first, last
    raise ValueError(
        f"--profile_steps={','.join(given)}: accepted are two numbers of "
        "steps, the second one larger, such as 100,120."
    )


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
    """

    def guarded(arguments: list[str]) -> None:
        if len(arguments) > 1 and not takes_arguments:
            raise app.UsageError(
                f"unexpected arguments {arguments[1:]}: flags begin with --."
            )
        terminal.guarded(main)(arguments)

    if {"--help", "-help", "-h", "-?"} & set(sys.argv[1:]):
        # Nothing else needs it.
        from run_scripts import help_text

        print(help_text.describe(sys.modules["__main__"].__doc__ or ""))
        return
    app.run(guarded)
