"""Noisy Student Training: the algorithm, stage after stage.

Finished stages are skipped, so that the same command goes on with a killed
run and only prints a finished one.
"""

from typing import Any

from noisy_student_tf import files, terminal
from noisy_student_tf.report import run_page
from noisy_student_tf.stages import (
    data,
    export,
    folds,
    labels,
    models,
    robustness,
    runs,
)


def run_all(run: runs.Run) -> list[dict[str, Any]]:
    """Run the whole of Algorithm 1, FixRes, evaluation, export and report.

    Of several workers all train and label, each its share; the chief does
    the rest while the others wait.

    Args:
        run: What `runs.begin` returned.

    Returns:
        The rows of `results.json`.
    """
    recipe = run.recipe
    runs.on_chief(run, lambda: _build_data(run))
    models.make(run, recipe.teacher)
    folds.measure(run)
    for student in recipe.students:
        labels.label(run, student)
        models.make(run, student)
        runs.on_chief(run, lambda: write_results(run))
    for last in filter(None, (recipe.supervised, recipe.finetuned)):
        models.make(run, last)
    runs.on_chief(run, lambda: _finish(run))
    return files.read_json(run.workdir.results)


def _build_data(run: runs.Run) -> None:
    data.build_labeled(run)
    data.build_unlabeled(run)
    labels.find_near_duplicates(run)


def _finish(run: runs.Run) -> None:
    with terminal.working("exporting the classifier"):
        export.export(run)
    if run.recipe.measures_robustness:
        robustness.measure(run)
    write_results(run)
    data.warn(run)


def write_results(run: runs.Run) -> list[dict[str, Any]]:
    """Write `results.json` and `report.html` from all finished models."""
    with terminal.working("results and report"):
        rows = data.collect_results(run)
        run_page.write_report(run.workdir)
    return rows
