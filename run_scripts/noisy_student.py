"""Run Noisy Student Training: from pictures to an exported classifier.

Reads images (`--data.labeled`, `--data.unlabeled`, `--data.evaluation`) and
writes all stages, `results.json`, `report.html` and a SavedModel to
`--workdir`. The same command goes on with a killed run.

    python -m run_scripts.noisy_student --preset=digits --workdir=runs/digits
"""

from absl import flags, logging

from noisy_student_tf import files, self_training
from noisy_student_tf.evaluation import results
from noisy_student_tf.planning import dry_run
from noisy_student_tf.records import shards
from run_scripts import flags as config_flags
from run_scripts import stage


def define_flags() -> None:
    """Define the flags of the whole loop."""
    stage.define_flags()
    flags.DEFINE_boolean(
        "dry_run",
        False,
        "Check paths, counts, configuration and disk space, print the stages "
        "with their estimated time, and stop.",
    )


def main(_: list[str]) -> None:
    """Run, or describe, the whole loop."""
    if flags.FLAGS.dry_run:
        config, workdir = stage.settings_from_flags()
        print(dry_run.describe(config, workdir))
        return
    run = stage.run_from_flags()
    rows = self_training.run_all(run)
    print(results.format_table(results.headline_rows(rows)))
    print(f"report: {files.join(run.workdir.root, 'report.html')}")
    exported = shards.read_manifest(run.workdir.export)["model"]
    print(f"classifier: {run.workdir.saved_model} ({exported})")
    logging.flush()


def console_entry() -> None:
    """Start as the installed command `noisy-student`."""
    define_flags()
    config_flags.run(main)


if __name__ == "__main__":
    console_entry()
