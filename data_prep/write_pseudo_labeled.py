"""Write the selected images with their soft labels: what a student reads.

Inputs: unlabeled shards, predictions and a selection of them. Output: one
TFRecord shard per unlabeled shard, with an index Parquet file, and a manifest.

    python -m data_prep.write_pseudo_labeled \
        --unlabeled_directory=runs/digits/unlabeled \
        --predictions_directory=runs/digits/predictions_1 \
        --selection_directory=runs/digits/selection_1 \
        --output_directory=runs/digits/pseudo_labeled_1 --iteration=1
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags, logging

from data_prep import beam_shards, pseudo_labeled_shard
from noisy_student_tf import files
from noisy_student_tf.records import (
    parquet_files,
    predictions,
    shards,
)

SPLIT = "pseudo_labeled"


def write(
    *,
    unlabeled_directory: str,
    predictions_directory: str,
    selection_directory: str,
    directory: str,
    iteration: int,
    beam_runner: str = "DirectRunner",
    beam_options: Sequence[str] = (),
) -> None:
    """Write the pseudo-labeled shards; finished ones are skipped.

    Args:
        unlabeled_directory: The images.
        predictions_directory: The teacher's probabilities of all of them.
        selection_directory: Which of them, and how often.
        directory: Where the shards appear.
        iteration: Which student they are made for, from 1.
        beam_runner: Apache Beam runner.
        beam_options: Beam's own flags, such as `--direct_num_workers=2`.

    Raises:
        FileNotFoundError: An input is missing or unfinished.
        ValueError: The inputs belong to different teachers or images.
    """
    tasks, manifest = _plan_tasks(
        unlabeled_directory=unlabeled_directory,
        predictions_directory=predictions_directory,
        selection_directory=selection_directory,
        directory=directory,
        iteration=iteration,
    )
    files.make_directories(directory)
    beam_shards.run(
        tasks,
        pseudo_labeled_shard.write_shard,
        runner=beam_runner,
        beam_options=beam_options,
    )
    files.remove_temporaries(directory)
    shards.write_manifest(directory, _make_manifest(tasks, manifest))


def _plan_tasks(
    *,
    unlabeled_directory: str,
    predictions_directory: str,
    selection_directory: str,
    directory: str,
    iteration: int,
) -> tuple[list[pseudo_labeled_shard.Task], dict[str, Any]]:
    """Return a task per shard and what the manifest takes from the inputs."""
    unlabeled = shards.open_split(unlabeled_directory, "unlabeled")
    manifest = shards.read_manifest(predictions_directory)
    selection = shards.read_manifest(selection_directory)
    teacher = manifest[predictions.TEACHER]
    count = len(unlabeled.paths)
    _check_fit(
        {
            unlabeled_directory: (count, teacher),
            predictions_directory: (len(manifest["shards"]), teacher),
            selection_directory: (
                len(selection["shards"]),
                selection[predictions.TEACHER],
            ),
        }
    )
    output = functools.partial(files.join, directory)
    shard_names = zip(
        unlabeled.paths, manifest["shards"], selection["shards"], strict=True
    )
    tasks = [
        pseudo_labeled_shard.Task(
            unlabeled_path=path,
            predictions_path=files.join(predictions_directory, predicted),
            selection_path=files.join(selection_directory, selected),
            records_path=output(shards.shard_name(SPLIT, index, count)),
            index_path=output(shards.index_name(SPLIT, index, count)),
            iteration=iteration,
            teacher_fingerprint=teacher,
        )
        for index, (path, predicted, selected) in enumerate(shard_names)
    ]
    return tasks, {
        "num_classes": manifest["num_classes"],
        "class_names": shards.read_manifest(unlabeled_directory).get(
            "class_names", []
        ),
        "iteration": iteration,
        predictions.TEACHER: teacher,
        "configuration": selection["configuration"],
    }


def _check_fit(found: dict[str, tuple[int, str]]) -> None:
    """Check that all directories have as many shards, and one teacher."""
    if len(set(found.values())) > 1:
        raise ValueError(
            "The directories differ in their shards or their teacher: "
            f"{found}. Predict and select again."
        )


def _make_manifest(
    tasks: list[pseudo_labeled_shard.Task], inherited: dict[str, Any]
) -> dict[str, Any]:
    num_classes = inherited["num_classes"]
    images = np.zeros(num_classes, np.int64)
    rows = np.zeros(num_classes, np.int64)
    checksums = {}
    for task in tasks:
        for batch in predictions.read_batches(
            task.index_path, [predictions.CLASS_ID, predictions.COPIES]
        ):
            class_ids = batch[predictions.CLASS_ID].to_numpy()
            np.add.at(images, class_ids, 1)
            np.add.at(rows, class_ids, batch[predictions.COPIES].to_numpy())
        metadata = parquet_files.read_metadata(task.index_path)
        checksums[_base_name(task.records_path)] = metadata[
            pseudo_labeled_shard.RECORDS_SHA256
        ]
    entry = shards.split_manifest(
        paths=list(checksums),
        num_records=int(images.sum()),
        schema="pseudo_labeled",
        num_classes=num_classes,
        num_copies=int(rows.sum()),
    )
    logging.info(
        "Wrote %d pseudo-labeled images, %d rows with their copies.",
        images.sum(),
        rows.sum(),
    )
    return {
        "splits": {SPLIT: entry},
        **inherited,
        "counts_per_class": {SPLIT: images.tolist()},
        "copies_per_class": {SPLIT: rows.tolist()},
        "checksums": checksums,
    }


def _base_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def define_flags() -> None:
    """Define the command's flags."""
    for name, text in (
        ("unlabeled_directory", "The images that were labeled."),
        ("predictions_directory", "The teacher's predictions of them."),
        ("selection_directory", "Which images are written, and how often."),
        ("output_directory", "Where the pseudo-labeled shards appear."),
    ):
        flags.DEFINE_string(name, None, text, required=True)
    flags.DEFINE_integer(
        "iteration", 1, "Which student the shards are for.", lower_bound=1
    )
    flags.DEFINE_string("runner", "DirectRunner", "Apache Beam runner.")


def main(arguments: list[str]) -> None:
    """Write pseudo-labeled shards; unknown flags after `--` are Beam's."""
    options = flags.FLAGS
    write(
        unlabeled_directory=options.unlabeled_directory,
        predictions_directory=options.predictions_directory,
        selection_directory=options.selection_directory,
        directory=options.output_directory,
        iteration=options.iteration,
        beam_runner=options.runner,
        beam_options=arguments[1:],
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
