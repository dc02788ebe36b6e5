"""Train one model of a run: the teacher or a student.

Reads the shards in `--workdir` and writes `teacher/` or `student_N/` there:
weights, curves, accuracies.

    python -m run_scripts.train --workdir=runs/digits --iteration=1
"""

from absl import flags

from noisy_student_tf.stages import models
from run_scripts import flags as config_flags
from run_scripts import stage


def define_flags() -> None:
    """Define the flags of this stage."""
    config_flags.define_run_flags()
    config_flags.define_iteration_flag(
        "0: the teacher; 1, 2, ...: that student."
    )


def main(_: list[str]) -> None:
    """Train the model that `--iteration` names."""
    run = stage.run_from_flags()
    models.make(run, run.recipe.model(flags.FLAGS.iteration))


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
