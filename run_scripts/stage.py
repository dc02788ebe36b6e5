"""What the scripts of stages share: their logs, and the run that they begin."""

import tensorflow as tf
from absl import flags, logging

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.devices import runtime
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


def set_up_logging() -> None:
    """Show what the stages say, without the libraries' own chatter."""
    logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
    logging.get_absl_handler().addFilter(
        lambda record: record.filename not in _CHATTY_MODULES
    )
    tf.get_logger().setLevel("ERROR")


def run_from_flags() -> runs.Run:
    """Return the run that the flags name, begun.

    Raises:
        FileNotFoundError: There is no model to begin with.
        ValueError: The workdir was made with another configuration, or a
            model to begin with does not fit.
    """
    set_up_logging()
    config, workdir = config_flags.settings_from_flags()
    profile_steps = _profile_steps()
    logging.info("%s; whole in %s", describe(config), workdir.config)
    runtime.configure(config)
    return runs.begin(config, workdir, profile_steps=profile_steps)


def describe(config: configs.Config) -> str:
    """Return a configuration as what differs from its preset."""
    preset = dict(config_tree.flatten(presets.preset(config.preset)))
    differing = []
    for name, value in config_tree.flatten(config):
        if value != preset[name]:
            parts = value if isinstance(value, tuple) else (value,)
            differing.append(f"--{name}={','.join(map(str, parts))}")
    return " ".join([f"Configuration: --preset={config.preset}", *differing])


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
