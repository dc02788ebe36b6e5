"""The stages that make data, and what is gathered from all of them.

Each stage reads finished directories, writes one, and closes it with a
manifest; a stage whose manifest exists is skipped. Here and in the other
modules of this room configuration meets objects, and nowhere else.
"""

from typing import Any

from data_prep import build_labeled as labeled_builder
from data_prep import build_unlabeled as unlabeled_builder
from noisy_student_tf import files
from noisy_student_tf.records import shards
from noisy_student_tf.stages import runs


def build_labeled(run: runs.Run) -> None:
    """Write the labeled shards: train, validation, test."""
    directory = run.workdir.labeled
    if not runs.is_done(directory, "Labeled shards"):
        labeled_builder.build(data=run.config.data, directory=directory)


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
    directories = [runs.directory(run, model) for model in run.recipe.models]
    rows = [
        row
        for directory in directories
        if shards.is_finished(directory)
        for row in shards.read_manifest(directory)["results"]
    ]
    if shards.is_finished(run.workdir.robustness):
        rows += shards.read_manifest(run.workdir.robustness)["results"]
    files.write_json(run.workdir.results, rows)
    return rows
