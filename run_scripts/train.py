"""Train one model of a run: the teacher or a student.

Reads the shards in `--workdir` and writes `teacher/`, `student_N/` or
`supervised/` there: weights, curves, accuracies.

    python -m run_scripts.train --workdir=runs/digits --iteration=1
"""

from absl import flags

from noisy_student_tf import recipes
from noisy_student_tf.stages import models, runs
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define the flags of this stage."""
    config_flags.define_run_flags()
    config_flags.define_iteration_flag(
        "0: the teacher; 1, 2, ...: that student."
    )
    flags.DEFINE_boolean(
        "supervised",
        False,
        "Train the baseline of --evaluation.supervised_baseline instead.",
    )


def main(_: list[str]) -> None:
    """Train the model that the flags name."""
    run = runs.start(*config_flags.run_settings())
    model = run.recipe.model(flags.FLAGS.iteration)
    if flags.FLAGS.supervised:
        model = _supervised(run.recipe)
    models.make(run, model)


def _supervised(recipe: recipes.Recipe) -> recipes.Model:
    if not recipe.supervised:
        raise ValueError(
            "--supervised: this run has no such baseline. Give "
            "--evaluation.supervised_baseline, and a student to compare."
        )
    return recipe.supervised


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
