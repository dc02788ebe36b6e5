"""Filter and balance the predictions for one student of a run.

Reads `predictions_N/` in `--workdir`, writes `selection_N/` and, with it, the
student's `pseudo_labeled_N/` shards.

    python -m run_scripts.select --workdir=runs/digits --iteration=1
"""

from absl import flags

from noisy_student_tf.stages import labels, runs
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define the flags of this stage."""
    config_flags.define_run_flags()
    config_flags.define_iteration_flag("The student, from 1.")


def main(_: list[str]) -> None:
    """Select, and write the pseudo-labeled shards."""
    run = runs.start(*config_flags.run_settings())
    labeling = run.recipe.labeling(flags.FLAGS.iteration)
    labels.select(run, labeling)
    labels.write_pseudo_labeled(run, labeling)


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
