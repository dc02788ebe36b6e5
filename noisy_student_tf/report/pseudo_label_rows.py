"""Every unlabeled image with its pseudo-label and what became of it.

Predictions, selection and duplicates of one shard are joined by id; memory is
bounded by the largest shard.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import (
    duplicates,
    parquet_files,
    predictions,
    shards,
)
from noisy_student_tf.report import labels as report_labels

SELECTED = "selected"
BELOW_THRESHOLD = "below_threshold"
BEYOND_QUOTA = "beyond_quota"
NEAR_DUPLICATE = "near_duplicate"

FATES = (SELECTED, BELOW_THRESHOLD, BEYOND_QUOTA, NEAR_DUPLICATE)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Images of one shard that the teacher labeled.

    Attributes:
        shard_index: Number of the unlabeled shard.
        ids: uint8 [num_rows, 16].
        class_ids: int32 [num_rows], the teacher's.
        confidences: float32 [num_rows].
        copies: int32 [num_rows], 0 where the image was not selected.
        labels: int64 [num_rows], true classes, -1 where unknown.
        is_above: bool [num_rows], confidence at or above the threshold.
    """

    shard_index: int
    ids: np.ndarray
    class_ids: np.ndarray
    confidences: np.ndarray
    copies: np.ndarray
    labels: np.ndarray
    is_above: np.ndarray

    def fates(self) -> np.ndarray:
        """Return what became of each image: index into `FATES`, [num_rows]."""
        fates = np.where(
            self.is_above,
            FATES.index(BEYOND_QUOTA),
            FATES.index(BELOW_THRESHOLD),
        )
        return np.where(self.copies > 0, FATES.index(SELECTED), fates)


def read(
    workdir: workdirs.Workdir,
    iteration: int,
    *,
    threshold: float,
    truth: report_labels.Truth,
) -> Iterator[Rows]:
    """Yield the labeled images, shard by shard, in batches.

    Raises:
        FileNotFoundError: The iteration's predictions are unfinished.
    """
    directory = workdir.predictions(iteration)
    names = shards.read_manifest(directory)["shards"]
    for index, name in enumerate(names):
        selected, copies = _read_copies(workdir, iteration, index, len(names))
        path = files.join(directory, name)
        for batch in predictions.read_batches(
            path, ["image_id", "class_id", "confidence"]
        ):
            ids = predictions.read_ids(batch, path)
            confidences = batch["confidence"].to_numpy()
            yield Rows(
                shard_index=index,
                ids=ids,
                class_ids=batch["class_id"].to_numpy(),
                confidences=confidences,
                copies=_look_up(selected, copies, report_labels.sortable(ids)),
                labels=truth.look_up(ids),
                is_above=confidences >= np.float32(threshold),
            )


def _read_copies(
    workdir: workdirs.Workdir, iteration: int, index: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids, sorted, and copies of one shard's selected images."""
    path = files.join(
        workdir.selection(iteration), predictions.selection_name(index, count)
    )
    ids = [report_labels.sortable(np.zeros((0, 16), np.uint8))]
    copies = [np.zeros(0, np.int32)]
    if files.exists(path):
        for batch in predictions.read_batches(path, ["image_id", "copies"]):
            ids.append(
                report_labels.sortable(predictions.read_ids(batch, path))
            )
            copies.append(batch["copies"].to_numpy())
    all_ids = np.concatenate(ids)
    order = np.argsort(all_ids, kind="stable")
    return all_ids[order], np.concatenate(copies)[order]


def _look_up(
    known: np.ndarray, values: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Return the value of each wanted id, 0 where there is none."""
    found = np.zeros(len(wanted), values.dtype)
    if known.size:
        places = np.minimum(np.searchsorted(known, wanted), known.size - 1)
        is_known = known[places] == wanted
        found[is_known] = values[places[is_known]]
    return found


def read_duplicates(
    workdir: workdirs.Workdir,
) -> Iterator[tuple[int, duplicates.Duplicate]]:
    """Yield (shard number, image) of the images that got no label."""
    if shards.is_finished(workdir.duplicates):
        count = len(shards.read_manifest(workdir.duplicates)["shards"])
        for index in range(count):
            for each in duplicates.read(workdir.duplicates, index, count):
                yield index, each


def read_keys(
    workdir: workdirs.Workdir, shard_index: int
) -> tuple[np.ndarray, pa.Array]:
    """Return ids, sorted, and keys (relative paths) of one shard's images."""
    count = len(shards.open_split(workdir.unlabeled, "unlabeled").paths)
    path = files.join(
        workdir.unlabeled, shards.index_name("unlabeled", shard_index, count)
    )
    ids = [report_labels.sortable(np.zeros((0, 16), np.uint8))]
    keys = [pa.array([], pa.string())]
    for batch in predictions.read_batches(path, ["image_id", "key"]):
        ids.append(
            report_labels.sortable(parquet_files.fixed_bytes(batch["image_id"]))
        )
        keys.append(batch["key"])
    all_ids = np.concatenate(ids)
    order = np.argsort(all_ids, kind="stable")
    return all_ids[order], pa.concat_arrays(keys).take(pa.array(order))
