"""Print the accuracies of a run and write its report.

Reads the finished models in `--workdir`; writes `results.json` and
`report.html` there.

    python -m run_scripts.evaluate --workdir=runs/digits
"""

from noisy_student_tf import self_training
from noisy_student_tf.evaluation import results
from run_scripts import flags as config_flags
from run_scripts import stage


def define_flags() -> None:
    """Define the flags of this stage."""
    stage.define_flags()


def main(_: list[str]) -> None:
    """Gather, print and draw the results."""
    run = stage.run_from_flags()
    print(results.format_table(self_training.write_results(run)))


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
