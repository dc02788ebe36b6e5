"""Write the selected images with their soft labels: what a student reads.

Inputs: unlabeled shards, predictions and a selection of them. Output: one
TFRecord shard per unlabeled shard, with an index Parquet file, and a manifest.

    python -m data_prep.write_pseudo_labeled \
        --unlabeled_directory=runs/digits/unlabeled \
        --predictions_directory=runs/digits/predictions_1 \
        --selection_directory=runs/digits/selection_1 \
        --output_directory=runs/digits/pseudo_labeled_1 --iteration=1

With `--reassign`, `--unlabeled_directory` is a finished directory of
pseudo-labeled shards and `--predictions_directory` another teacher's
predictions of them: the same images and copies get that teacher's labels, and
no `--selection_directory` is given. Options of the Beam runner follow a bare
`--`.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags, logging

from data_prep.shards import beam_shards, pseudo_labeled_shard, sidecars
from noisy_student_tf import configs, files
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import (
    parquet_files,
    predictions,
    shards,
)

FLAGS = flags.FLAGS

SPLIT = "pseudo_labeled"
UNLABELED = "unlabeled"


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
    _check_same(predictions_directory, selection_directory)
    selection = shards.read_manifest(selection_directory)
    _write(
        _Labeling(
            images_directory=unlabeled_directory,
            split=UNLABELED,
            predictions_directory=predictions_directory,
            selection_paths=[
                files.join(selection_directory, name)
                for name in selection["shards"]
            ],
            configuration=selection["configuration"],
            directory=directory,
            iteration=iteration,
        ),
        beam_runner,
        beam_options,
    )


def reassign(
    *,
    pseudo_labeled_directory: str,
    predictions_directory: str,
    directory: str,
    iteration: int,
    beam_runner: str = "DirectRunner",
    beam_options: Sequence[str] = (),
) -> None:
    """Give selected images another teacher's labels; their copies stay.

    In the paper an EfficientNet-B0 selects, and a better teacher labels.

    Args:
        pseudo_labeled_directory: The selected images.
        predictions_directory: The better teacher's predictions of them.
        directory: Where the shards appear; finished ones are skipped.
        iteration: Which student they are made for, from 1.
        beam_runner: Apache Beam runner.
        beam_options: Beam's own flags.

    Raises:
        FileNotFoundError: An input is missing or unfinished.
        ValueError: The predictions are of other images.
    """
    selected = shards.read_manifest(pseudo_labeled_directory)
    _write(
        _Labeling(
            images_directory=pseudo_labeled_directory,
            split=SPLIT,
            predictions_directory=predictions_directory,
            selection_paths=sidecars.split_indexes(
                pseudo_labeled_directory, SPLIT
            ),
            configuration=selected["configuration"],
            directory=directory,
            iteration=iteration,
        ),
        beam_runner,
        beam_options,
    )


@dataclasses.dataclass(frozen=True)
class _Labeling:
    """Selected images, the labels that they get, and where both go.

    Attributes:
        images_directory: The images.
        split: Their split there.
        predictions_directory: A teacher's probabilities of them.
        selection_paths: Which images, and how often; one file a shard.
        configuration: What they were selected by.
        directory: Where the shards appear.
        iteration: Which student they are made for, from 1.
    """

    images_directory: str
    split: str
    predictions_directory: str
    selection_paths: list[str]
    configuration: dict[str, Any]
    directory: str
    iteration: int


def _write(
    labeling: _Labeling, beam_runner: str, beam_options: Sequence[str]
) -> None:
    predicted = shards.read_manifest(labeling.predictions_directory)
    directory = labeling.directory
    tasks = _make_tasks(labeling, predicted)
    files.make_directories(directory)
    beam_shards.run(
        tasks,
        pseudo_labeled_shard.write_shard,
        runner=beam_runner,
        beam_options=beam_options,
    )
    files.remove_temporaries(directory)
    images = shards.read_manifest(labeling.images_directory)
    inherited = {
        "num_classes": predicted["num_classes"],
        "class_names": images.get("class_names", []),
        "iteration": labeling.iteration,
        predictions.TEACHER: predicted[predictions.TEACHER],
        "configuration": labeling.configuration,
    }
    if labeling.split == SPLIT:
        inherited["selected_by"] = images.get(
            "selected_by", images[predictions.TEACHER]
        )
    shards.write_manifest(directory, _make_manifest(tasks, inherited))


def _make_tasks(
    labeling: _Labeling, predicted: dict[str, Any]
) -> list[pseudo_labeled_shard.Task]:
    """Return a task per shard.

    Raises:
        ValueError: The predictions are of other images, or of other shards.
    """
    paths = shards.open_split(labeling.images_directory, labeling.split).paths
    found = shards.manifest_fingerprint(labeling.images_directory)
    expected = predicted[predictions.UNLABELED]
    count = len(predicted["shards"])
    if len(paths) != count or found != expected:
        raise ValueError(
            f"{labeling.predictions_directory} holds predictions of {count} "
            f"shards with the fingerprint {expected}, but "
            f"{labeling.images_directory} has {len(paths)} with {found}: the "
            f"images were built anew. Remove {labeling.predictions_directory}, "
            "and predict and select again."
        )
    return [
        pseudo_labeled_shard.Task(
            unlabeled_path=path,
            predictions_path=files.join(labeling.predictions_directory, name),
            selection_path=selected,
            records_path=files.join(
                labeling.directory, shards.shard_name(SPLIT, index, count)
            ),
            index_path=files.join(
                labeling.directory, shards.index_name(SPLIT, index, count)
            ),
            iteration=labeling.iteration,
            teacher_fingerprint=predicted[predictions.TEACHER],
            reassigns=labeling.split == SPLIT,
        )
        for index, (path, name, selected) in enumerate(
            zip(
                paths,
                predicted["shards"],
                labeling.selection_paths,
                strict=True,
            )
        )
    ]


def _check_same(*directories: str) -> None:
    """Check that predictions and selection belong together."""
    found = {}
    for directory in directories:
        manifest = shards.read_manifest(directory)
        found[directory] = (
            len(manifest["shards"]),
            manifest[predictions.TEACHER],
            manifest[predictions.UNLABELED],
        )
    if len(set(found.values())) > 1:
        raise ValueError(
            "The directories differ in their shards, their teacher or their "
            f"images: {found}. Remove the selection and select again."
        )


def _make_manifest(
    tasks: list[pseudo_labeled_shard.Task], inherited: dict[str, Any]
) -> dict[str, Any]:
    num_classes = inherited["num_classes"]
    images = np.zeros(num_classes, np.int64)
    rows = np.zeros(num_classes, np.int64)
    checksums = {}
    for task in tasks:
        index = parquet_files.read_columns(
            task.index_path, [predictions.CLASS_ID, predictions.COPIES]
        )
        class_ids = index[predictions.CLASS_ID].to_numpy()
        np.add.at(images, class_ids, 1)
        np.add.at(rows, class_ids, index[predictions.COPIES].to_numpy())
        metadata = parquet_files.read_metadata(task.index_path)
        checksums[os.path.basename(task.records_path)] = metadata[
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


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    """Define the flags of this script."""
    for name, text in (
        ("unlabeled_directory", "The images that were labeled."),
        ("predictions_directory", "The teacher's predictions of them."),
        ("output_directory", "Where the pseudo-labeled shards appear."),
    ):
        flags.DEFINE_string(name, None, text, required=True, flag_values=values)
    flags.DEFINE_string(
        "selection_directory",
        "",
        "Which images are written, and how often.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "reassign",
        False,
        "Relabel pseudo-labeled shards; see above.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "iteration",
        1,
        "Which student the shards are for.",
        lower_bound=1,
        flag_values=values,
    )
    config_tree.define_fields(
        configs.DataConfig(), {"runner": "beam_runner"}, values
    )


def main(arguments: list[str]) -> None:
    """Write pseudo-labeled shards; unknown flags after `--` are Beam's."""
    if bool(FLAGS.selection_directory) == FLAGS.reassign:
        raise app.UsageError(
            f"--selection_directory={FLAGS.selection_directory!r} with "
            f"--reassign={FLAGS.reassign}: give one of them. Reassigned "
            "images are the selected ones already."
        )
    common = {
        "predictions_directory": FLAGS.predictions_directory,
        "directory": FLAGS.output_directory,
        "iteration": FLAGS.iteration,
        "beam_runner": FLAGS.runner,
        "beam_options": arguments[1:],
    }
    images = FLAGS.unlabeled_directory
    if FLAGS.reassign:
        reassign(pseudo_labeled_directory=images, **common)
    else:
        write(
            unlabeled_directory=images,
            selection_directory=FLAGS.selection_directory,
            **common,
        )


if __name__ == "__main__":
    define_flags()
    app.run(main)
