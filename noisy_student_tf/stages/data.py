"""The stages that make data, and what is gathered from all of them.

Each stage reads finished directories, writes one, and closes it with a
manifest; a stage whose manifest exists is skipped. Here and in the other
modules of this room configuration meets objects, and nowhere else.
"""

from collections.abc import Iterator
from typing import Any

from absl import logging

from data_prep import build_labeled as labeled_builder
from data_prep import build_unlabeled as unlabeled_builder
from data_prep import sources
from noisy_student_tf import files, recipes, terminal
from noisy_student_tf.evaluation import results
from noisy_student_tf.evaluation.significance import cautions, paired
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.stages import runs


def build_labeled(run: runs.Run) -> None:
    """Write the labeled shards: train, validation, test."""
    directory = run.workdir.labeled
    settings = run.config.data
    is_checked = settings.unlabeled and not settings.unlabeled_by_file
    if is_checked and not shards.is_finished(directory):
        # While nothing is built, a path that was wrong may be another.
        with terminal.working("looking for unlabeled images"):
            sources.check(settings.unlabeled)
    if not runs.is_done(directory, "Labeled shards"):
        labeled_builder.build(data=run.config.data, directory=directory)
        for caution in cautions.of_data(shards.read_manifest(directory)):
            logging.warning("%s", caution)


def build_unlabeled(run: runs.Run) -> None:
    """Write the unlabeled shards."""
    directory = run.workdir.unlabeled
    if not runs.is_done(directory, "Unlabeled shards"):
        unlabeled_builder.build(
            data=run.config.data,
            directory=directory,
            labeled_directory=run.workdir.labeled,
        )


def collect_results(run: runs.Run) -> list[dict[str, Any]]:
    """Gather the measurements of all finished models in `results.json`."""
    made = [
        model
        for model in run.recipe.models
        if shards.is_finished(runs.directory(run, model))
    ]
    rows = [
        row
        for model in made
        for row in shards.read_manifest(runs.directory(run, model))["results"]
    ]
    if shards.is_finished(run.workdir.folds):
        rows += shards.read_manifest(run.workdir.folds)["results"]
    for model, baseline in run.recipe.comparisons:
        if model in made and baseline in made:
            rows += _compare(run, model, baseline)
    if shards.is_finished(run.workdir.robustness):
        rows += shards.read_manifest(run.workdir.robustness)["results"]
    files.write_json(run.workdir.results, rows)
    return rows


def _compare(
    run: runs.Run, model: recipes.Model, baseline: recipes.Model
) -> Iterator[results.Row]:
    """Yield a row for each split that both models were measured on."""
    directory, other = (runs.directory(run, each) for each in (model, baseline))
    resolution = shards.read_manifest(directory)["resolution"]
    for split in ("validation", "test"):
        paths = [held_out.path(each, split) for each in (directory, other)]
        if all(map(files.exists, paths)):
            yield {
                "model": model.name,
                "set": run.config.preset,
                "split": split,
                "resolution": resolution,
                "weights": "ema",
                "measure": results.COMPARISON,
                "baseline": baseline.name,
                **paired.compare(*paths),
            }


def warn(run: runs.Run) -> None:
    """Log what a reader of the results has to know first."""
    for caution in cautions.of_run(run.workdir):
        logging.warning("%s", caution)
