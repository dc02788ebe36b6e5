"""Run Noisy Student Training: from pictures to an exported classifier.

Reads images (`--data.labeled`, `--data.unlabeled`, `--data.evaluation`) and
writes all stages, `results.json`, `report.html` and a SavedModel to
`--workdir`. The same command goes on with a killed run.

    python -m run_scripts.noisy_student --preset=digits --workdir=runs/digits
"""

from absl import flags, logging

from noisy_student_tf import configs, heaps, terminal, workdirs
from noisy_student_tf.evaluation import results
from noisy_student_tf.evaluation.significance import cautions
from noisy_student_tf.records import shards
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define the flags of the whole loop."""
    config_flags.define_run_flags()
    config_flags.DEFINE_yes_or_word(
        "dry_run",
        "full",
        "Check paths, counts, configuration and disk space, print the stages "
        "with their estimated time, and stop. --dry_run=full reads and checks "
        "every picture, too.",
    )
    flags.DEFINE_string(
        "accelerator",
        "",
        "With --dry_run: what the run is meant for, such as h100-8 or v3-2048; "
        "a step that its memory does not hold is refused.",
    )


def main(_: list[str]) -> None:
    """Run, or describe, the whole loop."""
    config, workdir = config_flags.settings_from_flags()
    if flags.FLAGS.dry_run:
        print(_describe(config, workdir))
        return
    workdirs.check_config(config, workdir)
    if not workdirs.is_finished(config, workdir):
        _run()
    rows = results.read(workdir.results)
    print(results.format_table(results.headline_rows(rows)))
    print(results.format_comparisons(rows), end="")
    for note in (
        *cautions.of_run(workdir),
        *heaps.changed_sources(workdir.labeled, workdir.unlabeled),
    ):
        print(f"note: {note}")
    print(f"report: {workdir.report}")
    exported = shards.read_manifest(workdir.export)
    model, reason = exported["model"], exported["reason"]
    print(f"classifier: {workdir.saved_model} ({model}: {reason})")
    logging.flush()


def _describe(config: configs.Config, workdir: workdirs.Workdir) -> str:
    from noisy_student_tf.planning import accelerators, dry_run

    name = flags.FLAGS.accelerator
    return dry_run.describe(
        config,
        workdir,
        reads_all=flags.FLAGS.dry_run == "full",
        accelerator=accelerators.parse(name) if name else None,
    )


def _run() -> None:
    # A finished run is shown without these: their imports take seconds.
    with terminal.working("loading TensorFlow"):
        from noisy_student_tf import self_training
        from noisy_student_tf.stages import runs

    self_training.run_all(runs.start(*config_flags.run_settings()))


def console_entry() -> None:
    """Start as the installed command `noisy-student`."""
    define_flags()
    config_flags.run(main)


if __name__ == "__main__":
    console_entry()
