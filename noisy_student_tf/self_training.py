"""Noisy Student Training: the algorithm, stage after stage.

Finished stages are skipped, so that the same command goes on with a killed
run and only prints a finished one.
"""

from typing import Any

from noisy_student_tf import (
    export_stages,
    files,
    label_stages,
    model_stages,
    robustness_stage,
    stages,
    starts,
    workdir,
)
from noisy_student_tf import run as runs
from noisy_student_tf.evaluation import report


def run_all(run: runs.Run) -> list[dict[str, Any]]:
    """Run the whole of Algorithm 1, FixRes, evaluation, export and report.

    Of several workers all train and label, each its share; the chief does
    the rest while the others wait.

    Returns:
        The rows of `results.json`.
    """
    starts.check(run.config)
    runs.on_chief(run, lambda: _build_data(run))
    model_stages.train_teacher(run)
    for iteration in range(1, run.config.self_training.num_iterations + 1):
        label_stages.label(run, iteration)
        model_stages.train_student(run, iteration)
        runs.on_chief(run, lambda: write_results(run))
    if run.config.fixres.resolution:
        model_stages.finetune_fixres(run)
    runs.on_chief(run, lambda: _finish(run))
    return files.read_json(run.workdir.results)


def _build_data(run: runs.Run) -> None:
    workdir.write_config(run.config, run.workdir)
    stages.build_labeled(run)
    stages.build_unlabeled(run)
    label_stages.find_near_duplicates(run)


def _finish(run: runs.Run) -> None:
    export_stages.export(run)
    if run.config.evaluation.robustness:
        robustness_stage.measure(run)
    write_results(run)


def write_results(run: runs.Run) -> list[dict[str, Any]]:
    """Write `results.json` and `report.html` from all finished models."""
    rows = stages.collect_results(run)
    report.write_report(run.workdir.root)
    return rows
