"""Noisy Student Training: the algorithm, stage after stage.

Finished stages are skipped, so that the same command goes on with a killed
run and only prints a finished one.
"""

from typing import Any

from noisy_student_tf import stages, workdir
from noisy_student_tf.evaluation import report


def run_all(run: stages.Run) -> list[dict[str, Any]]:
    """Run the whole of Algorithm 1, FixRes, evaluation, export and report.

    Returns:
        The rows of `results.json`.
    """
    workdir.write_config(run.config, run.workdir)
    stages.build_labeled(run)
    stages.build_unlabeled(run)
    stages.train_teacher(run)
    for iteration in range(1, run.config.self_training.num_iterations + 1):
        stages.predict(run, iteration)
        stages.select(run, iteration)
        stages.write_pseudo_labeled(run, iteration)
        stages.train_student(run, iteration)
        write_results(run)
    if run.config.fixres.resolution:
        stages.finetune_fixres(run)
    stages.export(run)
    return write_results(run)


def write_results(run: stages.Run) -> list[dict[str, Any]]:
    """Write `results.json` and `report.html` from all finished models."""
    rows = stages.collect_results(run)
    report.write_report(run.workdir.root)
    return rows
