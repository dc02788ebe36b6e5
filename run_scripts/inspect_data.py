"""Look at what a model of a run would be trained on, before training it.

Prints the specification of the first batches, how often each class occurs in
them, and the rates at which they are made; writes a contact sheet: a few clean
images, the same under the run's noise, and one row for each RandAugment
operation at the run's magnitude.

Reads `--workdir`, whose labeled shards must have been built, and for students
the pseudo-labeled shards of `--iteration`; writes `--output` (PNG).

    python -m run_scripts.inspect_data --workdir=runs/digits --iteration=1 \
        --output=runs/digits/contact_sheet.png
"""

from absl import flags

from noisy_student_tf import files
from noisy_student_tf.configs import config_tree
from noisy_student_tf.stages import batches
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define the flags of this script."""
    config_flags.define_run_flags()
    flags.DEFINE_integer(
        "iteration", 0, "Whose data: 0 the teacher's, 1 the first student's."
    )
    config_tree.DEFINE_path(
        "output", None, "The contact sheet. Default: WORKDIR/contact_sheet.png."
    )
    flags.DEFINE_integer("num_batches", 20, "Batches counted and timed.")
    flags.DEFINE_integer("num_images", 8, "Columns of the contact sheet.")


def main(_: list[str]) -> None:
    """Print what the batches hold and write the contact sheet."""
    values = flags.FLAGS
    config, workdir = config_flags.settings_from_flags()
    print(
        batches.describe_batches(
            config, workdir, values.iteration, num_batches=values.num_batches
        )
    )
    path = values.output or files.join(workdir.root, "contact_sheet.png")
    batches.write_contact_sheet(
        config,
        workdir,
        values.iteration,
        path=path,
        num_images=values.num_images,
    )
    print(f"contact sheet: {path}")


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
