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

import os
from typing import Any

import numpy as np
from absl import app, flags, logging

from data_prep.shards import beam_shards, pseudo_labeled_shard
from noisy_student_tf import configs, files, terminal
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import parquet_files, predictions, shards

FLAGS = flags.FLAGS

SPLIT = "pseudo_labeled"
UNLABELED = "unlabeled"


def write(
    *,
    images_directory: str,
    predictions_directory: str,
    selection_directory: str,
    directory: str,
    iteration: int,
    beam: beam_shards.Beam = beam_shards.LOCAL,
) -> None:
    """Write the pseudo-labeled shards; finished ones are skipped.

    Without a selection, images that are selected already get another teacher's
    labels, and their copies stay. In the paper an EfficientNet-B0 selects, and
    a better teacher labels.

    `iteration` says which student they are made for, from 1.

    Raises:
        FileNotFoundError: An input is missing or unfinished.
        ValueError: The inputs belong to different teachers or images.
    """
    inputs = _join(images_directory, predictions_directory, selection_directory)
    predicted = shards.read_manifest(predictions_directory)
    tasks = [
        pseudo_labeled_shard.Task(
            *paths,
            records_path=files.join(
                directory, shards.shard_name(SPLIT, index, len(inputs))
            ),
            index_path=files.join(
                directory, shards.index_name(SPLIT, index, len(inputs))
            ),
            iteration=iteration,
            teacher_fingerprint=predicted[predictions.TEACHER],
            reassigns=not selection_directory,
        )
        for index, paths in enumerate(inputs)
    ]
    files.make_directories(directory)
    beam_shards.run(
        tasks,
        pseudo_labeled_shard.write_shard,
        beam,
        title="pseudo-labeled images",
    )
    files.remove_temporaries(directory)
    inherited = _inherited(
        images_directory, selection_directory, predicted, iteration
    )
    shards.write_manifest(directory, _make_manifest(tasks, inherited))


def _join(
    images_directory: str, predictions_directory: str, selection_directory: str
) -> list[tuple[str, str, str]]:
    """Return the images, predictions and selection of each shard.

    Raises:
        ValueError: The predictions are of other images, or of other shards.
    """
    predicted = shards.read_manifest(predictions_directory)
    if selection_directory:
        _check_same(predictions_directory, selection_directory)
        selected = [
            files.join(selection_directory, name)
            for name in shards.read_manifest(selection_directory)["shards"]
        ]
    else:
        selected = shards.index_paths(images_directory, SPLIT)
    split = UNLABELED if selection_directory else SPLIT
    paths = shards.open_split(images_directory, split).paths
    found = shards.manifest_fingerprint(images_directory)
    expected = predicted[predictions.UNLABELED]
    names = predicted["shards"]
    if len(paths) != len(names) or found != expected:
        raise ValueError(
            f"{predictions_directory} holds predictions of {len(names)} "
            f"shards with the fingerprint {expected}, but "
            f"{images_directory} has {len(paths)} with {found}: the "
            f"images were built anew. Remove {predictions_directory}, "
            "and predict and select again."
        )
    predictions_paths = [files.join(predictions_directory, n) for n in names]
    return list(zip(paths, predictions_paths, selected, strict=True))


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


def _inherited(
    images_directory: str,
    selection_directory: str,
    predicted: dict[str, Any],
    iteration: int,
) -> dict[str, Any]:
    """Return what the manifest takes over from those of the inputs."""
    images = shards.read_manifest(images_directory)
    selection = shards.read_manifest(selection_directory or images_directory)
    inherited = {
        "num_classes": predicted["num_classes"],
        "class_names": images.get("class_names", []),
        "iteration": iteration,
        predictions.TEACHER: predicted[predictions.TEACHER],
        "configuration": selection["configuration"],
    }
    if not selection_directory:
        teacher = images[predictions.TEACHER]
        inherited["selected_by"] = images.get("selected_by", teacher)
    return inherited


def _make_manifest(
    tasks: list[pseudo_labeled_shard.Task], inherited: dict[str, Any]
) -> dict[str, Any]:
    num_classes = inherited["num_classes"]
    counts = np.zeros(num_classes, np.int64)
    copies = np.zeros(num_classes, np.int64)
    checksums = {}
    for task in tasks:
        index = parquet_files.read_columns(
            task.index_path, [predictions.CLASS_ID, predictions.COPIES]
        )
        class_ids = index[predictions.CLASS_ID].to_numpy()
        np.add.at(counts, class_ids, 1)
        np.add.at(copies, class_ids, index[predictions.COPIES].to_numpy())
        metadata = parquet_files.read_metadata(task.index_path)
        checksums[os.path.basename(task.records_path)] = metadata[
            pseudo_labeled_shard.RECORDS_SHA256
        ]
    logging.info(
        "Wrote %d pseudo-labeled images, %d rows with their copies.",
        counts.sum(),
        copies.sum(),
    )
    entry = shards.split_manifest(
        paths=list(checksums),
        num_records=int(counts.sum()),
        schema="pseudo_labeled",
        num_classes=num_classes,
        num_copies=int(copies.sum()),
    )
    return {
        "splits": {SPLIT: entry},
        **inherited,
        "counts_per_class": {SPLIT: counts.tolist()},
        "copies_per_class": {SPLIT: copies.tolist()},
        "checksums": checksums,
    }


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    """Define the flags of this script."""
    for name, text in (
        ("unlabeled_directory", "The images that were labeled."),
        ("predictions_directory", "The teacher's predictions of them."),
        ("output_directory", "Where the pseudo-labeled shards appear."),
    ):
        config_tree.DEFINE_path(name, None, text, required=True, values=values)
    config_tree.DEFINE_path(
        "selection_directory",
        "",
        "Which images are written, and how often.",
        values=values,
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
    write(
        images_directory=FLAGS.unlabeled_directory,
        predictions_directory=FLAGS.predictions_directory,
        selection_directory=FLAGS.selection_directory,
        directory=FLAGS.output_directory,
        iteration=FLAGS.iteration,
        beam=beam_shards.Beam(FLAGS.runner, arguments[1:]),
    )


if __name__ == "__main__":
    define_flags()
    app.run(terminal.guarded(main))
