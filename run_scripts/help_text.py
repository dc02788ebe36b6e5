"""What `--help` prints: a script's purpose and its flags, in groups."""

import itertools
import shutil
import textwrap
from collections.abc import Iterator

from absl import flags

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree

# The method first, the machine last.
GROUPS = {
    "": "this command",
    "self_training": "the loop",
    "labeling": "the teacher's labels",
    "selection": "which images the student learns from",
    "augmentation": "noise of the images",
    "model": "the network, and its noise",
    "loss": "losses",
    "training": "batches and durations",
    "optimizer": "optimizer",
    "fixres": "FixRes fine-tuning",
    "evaluation": "what is measured",
    "data": "images and shards",
    "runtime": "the machine",
}
# Libraries whose flags are theirs.
_FOREIGN = ("absl.", "tensorflow", "apache_beam", "tensorflow_datasets")


def describe(purpose: str) -> str:
    """Return a script's purpose, and all flags that our modules define."""
    ordered = sorted(_own_flags(), key=_place)
    groups = itertools.groupby(ordered, _group)
    blocks = [purpose.strip()]
    for name, group in groups:
        lines = [f"{GROUPS[name]}:", *map(_describe, group)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _own_flags() -> Iterator[flags.Flag]:
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if not module.startswith(_FOREIGN):
            yield from defined


def _group(flag: flags.Flag) -> str:
    section, dot, _ = flag.name.partition(".")
    return section if dot else ""


def _place(flag: flags.Flag) -> tuple[int, int]:
    """Return where a flag stands: within a section, as its fields do."""
    names = [name for name, _ in config_tree.flatten(configs.Config())]
    names = ["preset", "workdir", "seed", *names]
    within = names.index(flag.name) if flag.name in names else len(names)
    return list(GROUPS).index(_group(flag)), within


def _describe(flag: flags.Flag) -> str:
    width = shutil.get_terminal_size((80, 24)).columns
    choices = getattr(flag.parser, "enum_values", None)
    value = "" if flag.boolean else f"={'|'.join(choices or ['VALUE'])}"
    purpose = flag.help.removeprefix(f"<{'|'.join(choices or [])}>: ")
    default = "" if flag.default in (None, "") else f" Default: {flag.default}."
    text = textwrap.fill(
        f"{purpose}{default}",
        width,
        initial_indent=" " * 6,
        subsequent_indent=" " * 6,
    )
    return f"  --{flag.name}{value}\n{text}"
