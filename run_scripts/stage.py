"""What the scripts of single stages share: their flags, and the run."""

import tensorflow as tf
from absl import flags, logging

from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.devices import runtime
from noisy_student_tf.model import starts
from noisy_student_tf.stages import runs
from run_scripts import flags as config_flags

# They log at the level of a run's own progress.
_CHATTY_MODULES = (
    "bigquery.py",
    "builder_impl.py",
    "fingerprinting_utils.py",
    "functional_saver.py",
    "signature_serialization.py",
    "statecache.py",
)


def define_flags() -> None:
    """Define `--workdir` and the flags of the configuration."""
    config_flags.define_config_flags()
    flags.DEFINE_string(
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


def settings_from_flags() -> tuple[configs.Config, workdirs.Workdir]:
    """Return the configuration and the folders that the flags name.

    Without `--preset`, the configuration is that of the existing run.

    Raises:
        ValueError: `--workdir` or `--preset` is missing or not accepted.
        FileNotFoundError: There is neither a preset nor an existing run.
    """
    if not flags.FLAGS.workdir:
        raise ValueError(
            "--workdir is missing: name the directory of the run, such as "
            "--workdir=runs/digits."
        )
    workdir = workdirs.Workdir(flags.FLAGS.workdir)
    if flags.FLAGS.preset is None and files.exists(workdir.config):
        base = workdirs.read_config(workdir)
        return config_flags.override_from_flags(base), workdir
    return config_flags.config_from_flags(), workdir


def set_up_logging() -> None:
    """Show what the stages say, without the libraries' own chatter."""
    logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
    logging.get_absl_handler().addFilter(
        lambda record: record.filename not in _CHATTY_MODULES
    )
    tf.get_logger().setLevel("ERROR")


def run_from_flags() -> runs.Run:
    """Return the run that the flags name, its configuration written.

    Raises:
        FileNotFoundError: There is no model to begin with.
        ValueError: The workdir was made with another configuration, or a
            model to begin with does not fit.
    """
    set_up_logging()
    config, workdir = settings_from_flags()
    # Before anything is written: the workdir stays free for the mended flags.
    starts.check(config)
    workdirs.check_config(config, workdir)
    profile_steps = _profile_steps()
    logging.info("Configuration:\n%s", config_tree.to_json(config))
    runtime.configure(config)
    run = runs.Run(
        config=config,
        workdir=workdir,
        strategy=runtime.make_strategy(config.runtime),
        profile_steps=profile_steps,
    )
    runs.on_chief(run, lambda: workdirs.write_config(config, workdir))
    return run


def _profile_steps() -> tuple[int, int] | None:
    """Return the two steps of --profile_steps."""
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
