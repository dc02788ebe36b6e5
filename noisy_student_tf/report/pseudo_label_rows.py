"""Every unlabeled image with its pseudo-label and what became of it.

Predictions, selection and duplicates of one shard are joined by id; memory is
bounded by the largest shard.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import (
    duplicates,
    lookups,
    parquet_files,
    predictions,
    shards,
)
from noisy_student_tf.report import label_counts

SELECTED = "selected"
BELOW_THRESHOLD = "below_threshold"
BEYOND_QUOTA = "beyond_quota"
NEAR_DUPLICATE = "near_duplicate"

FATES = (SELECTED, BELOW_THRESHOLD, BEYOND_QUOTA, NEAR_DUPLICATE)


@dataclasses.dataclass(frozen=True)
class LabeledImages:
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

    def pick(self, row: int) -> label_counts.Pick:
        """Return one of the images, to be shown."""
        return label_counts.Pick(
            confidence=float(self.confidences[row]),
            image_id=self.ids[row].tobytes(),
            class_id=int(self.class_ids[row]),
            label=int(self.labels[row]),
            copies=int(self.copies[row]),
            shard_index=self.shard_index,
        )


def read(workdir: workdirs.Workdir, iteration: int) -> Iterator[LabeledImages]:
    """Yield the labeled images, shard by shard, in batches.

    Raises:
        FileNotFoundError: The iteration's predictions are unfinished.
    """
    directory = workdir.predictions(iteration)
    names = shards.read_manifest(directory)["shards"]
    threshold = workdirs.read_config(workdir).selection.confidence_threshold
    truth = label_counts.read_truth(workdir)
    for index, name in enumerate(names):
        copies = lookups.read(
            files.join(
                workdir.selection(iteration),
                predictions.selection_name(index, len(names)),
            ),
            "copies",
            dtype=np.int32,
            unknown=0,
        )
        path = files.join(directory, name)
        for batch in parquet_files.read_batches(
            path, ["image_id", "class_id", "confidence"]
        ):
            ids = parquet_files.image_ids(batch["image_id"], path)
            confidences = batch["confidence"].to_numpy()
            yield LabeledImages(
                shard_index=index,
                ids=ids,
                class_ids=batch["class_id"].to_numpy(),
                confidences=confidences,
                copies=copies.of(ids),
                labels=truth.of(ids),
                is_above=confidences >= np.float32(threshold),
            )


def read_duplicates(
    workdir: workdirs.Workdir,
) -> Iterator[tuple[int, duplicates.Duplicate]]:
    """Yield (shard number, image) of the images that got no label."""
    if shards.is_finished(workdir.duplicates):
        count = len(shards.read_manifest(workdir.duplicates)["shards"])
        for index in range(count):
            for each in duplicates.read(workdir.duplicates, index, count):
                yield index, each


def read_keys(workdir: workdirs.Workdir, shard_index: int) -> lookups.Lookup:
    """Return the keys (relative paths) of one shard's images."""
    count = len(shards.open_split(workdir.unlabeled, "unlabeled").paths)
    path = files.join(
        workdir.unlabeled, shards.index_name("unlabeled", shard_index, count)
    )
    return lookups.read(path, "key", dtype=object, unknown=None)
