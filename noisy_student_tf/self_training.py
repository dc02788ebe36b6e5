"""Noisy Student Training: the algorithm, stage after stage.

Finished stages are skipped, so that the same command goes on with a killed
run and only prints a finished one.
"""

from typing import Any

from noisy_student_tf import (
    cluster,
    files,
    model_stages,
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
        _pseudo_label(run, iteration)
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


def _pseudo_label(run: runs.Run, iteration: int) -> None:
    num_workers = cluster.num_workers(run.strategy)
    if num_workers > 1:
        stages.predict(
            run,
            iteration,
            shard_index=cluster.worker_index(run.strategy),
            num_shard_workers=num_workers,
            closes=False,
        )
        cluster.wait_for_all(run.strategy)

    def predict_and_select() -> None:
        stages.predict(run, iteration)
        stages.select(run, iteration)
        stages.write_pseudo_labeled(run, iteration)

    runs.on_chief(run, predict_and_select)


def _finish(run: runs.Run) -> None:
    stages.export(run)
    write_results(run)


def write_results(run: runs.Run) -> list[dict[str, Any]]:
    """Write `results.json` and `report.html` from all finished models."""
    rows = stages.collect_results(run)
    report.write_report(run.workdir.root)
    return rows
