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
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags, logging

from data_prep.shards import beam_shards, pseudo_labeled_shard
from noisy_student_tf import files
from noisy_student_tf.records import (
    parquet_files,
    predictions,
    shards,
)

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
    predicted = shards.read_manifest(predictions_directory)
    selection = shards.read_manifest(selection_directory)
    _check_fit(unlabeled_directory, UNLABELED, predictions_directory, predicted)
    _check_same(
        {predictions_directory: predicted, selection_directory: selection}
    )
    plan = _Plan(
        images_directory=unlabeled_directory,
        split=UNLABELED,
        predictions_directory=predictions_directory,
        predicted=predicted,
        selection_paths=[
            files.join(selection_directory, name)
            for name in selection["shards"]
        ],
        configuration=selection["configuration"],
        directory=directory,
        iteration=iteration,
    )
    _write(plan, beam_runner, beam_options)


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
    predicted = shards.read_manifest(predictions_directory)
    selected = shards.read_manifest(pseudo_labeled_directory)
    _check_fit(
        pseudo_labeled_directory, SPLIT, predictions_directory, predicted
    )
    num_shards = len(selected["splits"][SPLIT]["paths"])
    plan = _Plan(
        images_directory=pseudo_labeled_directory,
        split=SPLIT,
        predictions_directory=predictions_directory,
        predicted=predicted,
        selection_paths=[
            files.join(
                pseudo_labeled_directory,
                shards.index_name(SPLIT, index, num_shards),
            )
            for index in range(num_shards)
        ],
        configuration=selected["configuration"],
        directory=directory,
        iteration=iteration,
    )
    _write(plan, beam_runner, beam_options)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Where the shards come from and go to."""

    images_directory: str
    split: str
    predictions_directory: str
    predicted: dict[str, Any]
    selection_paths: list[str]
    configuration: dict[str, Any]
    directory: str
    iteration: int


def _write(plan: _Plan, beam_runner: str, beam_options: Sequence[str]) -> None:
    tasks = _make_tasks(plan)
    directory = plan.directory
    files.make_directories(directory)
    beam_shards.run(
        tasks,
        pseudo_labeled_shard.write_shard,
        runner=beam_runner,
        beam_options=beam_options,
    )
    files.remove_temporaries(directory)
    shards.write_manifest(directory, _make_manifest(tasks, _inherited(plan)))


def _make_tasks(plan: _Plan) -> list[pseudo_labeled_shard.Task]:
    """Return a task per shard."""
    paths = shards.open_split(plan.images_directory, plan.split).paths
    count = len(paths)
    output = functools.partial(files.join, plan.directory)
    shard_names = zip(
        paths, plan.predicted["shards"], plan.selection_paths, strict=True
    )
    return [
        pseudo_labeled_shard.Task(
            unlabeled_path=path,
            predictions_path=files.join(plan.predictions_directory, predicted),
            selection_path=selected,
            records_path=output(shards.shard_name(SPLIT, index, count)),
            index_path=output(shards.index_name(SPLIT, index, count)),
            iteration=plan.iteration,
            teacher_fingerprint=plan.predicted[predictions.TEACHER],
            reassigns=plan.split == SPLIT,
        )
        for index, (path, predicted, selected) in enumerate(shard_names)
    ]


def _inherited(plan: _Plan) -> dict[str, Any]:
    """Return what the manifest takes from the inputs."""
    manifest = shards.read_manifest(plan.images_directory)
    inherited = {
        "num_classes": plan.predicted["num_classes"],
        "class_names": manifest.get("class_names", []),
        "iteration": plan.iteration,
        predictions.TEACHER: plan.predicted[predictions.TEACHER],
        "configuration": plan.configuration,
    }
    if plan.split == SPLIT:
        inherited["selected_by"] = manifest.get(
            "selected_by", manifest[predictions.TEACHER]
        )
    return inherited


def _check_fit(
    images_directory: str,
    split: str,
    predictions_directory: str,
    predicted: dict[str, Any],
) -> None:
    """Check that predictions are of these very images.

    Raises:
        ValueError: They are of others, or of other shards.
    """
    num_shards = len(shards.open_split(images_directory, split).paths)
    found = shards.fingerprint(files.join(images_directory, shards.MANIFEST))
    expected = predicted[predictions.UNLABELED]
    if num_shards != len(predicted["shards"]) or found != expected:
        raise ValueError(
            f"{predictions_directory} holds predictions of "
            f"{len(predicted['shards'])} shards with the fingerprint "
            f"{expected}, but {images_directory} has {num_shards} with "
            f"{found}: the images were built anew. Remove "
            f"{predictions_directory}, and predict and select again."
        )


def _check_same(manifests: dict[str, dict[str, Any]]) -> None:
    """Check that predictions and selection belong together."""
    found = {
        directory: (
            len(manifest["shards"]),
            manifest[predictions.TEACHER],
            manifest[predictions.UNLABELED],
        )
        for directory, manifest in manifests.items()
    }
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
        ("output_directory", "Where the pseudo-labeled shards appear."),
    ):
        flags.DEFINE_string(name, None, text, required=True)
    flags.DEFINE_string(
        "selection_directory", "", "Which images are written, and how often."
    )
    flags.DEFINE_bool(
        "reassign", False, "Relabel pseudo-labeled shards; see above."
    )
    flags.DEFINE_integer(
        "iteration", 1, "Which student the shards are for.", lower_bound=1
    )
    flags.DEFINE_string("runner", "DirectRunner", "Apache Beam runner.")


def main(arguments: list[str]) -> None:
    """Write pseudo-labeled shards; unknown flags after `--` are Beam's."""
    options = flags.FLAGS
    if bool(options.selection_directory) == options.reassign:
        raise app.UsageError(
            f"--selection_directory={options.selection_directory!r} with "
            f"--reassign={options.reassign}: give one of them. Reassigned "
            "images are the selected ones already."
        )
    common = {
        "predictions_directory": options.predictions_directory,
        "directory": options.output_directory,
        "iteration": options.iteration,
        "beam_runner": options.runner,
        "beam_options": arguments[1:],
    }
    images = options.unlabeled_directory
    if options.reassign:
        reassign(pseudo_labeled_directory=images, **common)
    else:
        write(
            unlabeled_directory=images,
            selection_directory=options.selection_directory,
            **common,
        )


if __name__ == "__main__":
    define_flags()
    app.run(main)
