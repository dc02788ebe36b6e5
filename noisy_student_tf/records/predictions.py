"""Predictions and selections on disk: file names, columns, checked reading.

A predictions directory has one Parquet file per unlabeled shard, a selection
directory one per predictions file. Rows are joined by `image_id`, never by
their position.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from noisy_student_tf import files
from noisy_student_tf.records import parquet_files, schema, shards

IMAGE_ID = "image_id"
CLASS_ID = "class_id"
CONFIDENCE = "confidence"
PROBABILITIES = "probabilities"
COPIES = schema.COPIES_COLUMN

TEACHER = "teacher_fingerprint"
UNLABELED = "unlabeled_fingerprint"
UNLABELED_SHARD = "unlabeled_shard"

# Of predictions and of selections.
_COLUMNS = (
    (IMAGE_ID, pa.binary(schema.ID_BYTES)),
    (CLASS_ID, pa.int32()),
    (CONFIDENCE, pa.float32()),
)


@dataclasses.dataclass(frozen=True)
class PredictedRows:
    """Rows of a predictions file, without the probabilities.

    Attributes:
        class_ids: int32 [num_rows] in [0, num_classes).
        confidences: float32 [num_rows], finite, in [0, 1].
        ids: uint8 [num_rows, 16]; [0, 16] where they were not asked for.
    """

    class_ids: np.ndarray
    confidences: np.ndarray
    ids: np.ndarray


def predictions_name(index: int, count: int) -> str:
    """Return `predictions-00003-of-00008.parquet`."""
    return f"predictions-{index:05d}-of-{count:05d}.parquet"


def selection_name(index: int, count: int) -> str:
    """Return `selection-00003-of-00008.parquet`."""
    return f"selection-{index:05d}-of-{count:05d}.parquet"


def predictions_schema(
    num_classes: int, *, metadata: dict[str, str]
) -> pa.Schema:
    """Return the columns of a predictions file.

    The metadata are `TEACHER`, `UNLABELED` and `UNLABELED_SHARD`.
    """
    return pa.schema(
        [*_COLUMNS, (PROBABILITIES, pa.list_(pa.float16(), num_classes))],
        metadata=metadata,
    )


def selection_schema() -> pa.Schema:
    """Return the columns of a selection file."""
    return pa.schema([*_COLUMNS, (COPIES, pa.int32())])


def record_batch(
    columns: pa.Schema, rows: PredictedRows, last: np.ndarray
) -> pa.RecordBatch:
    """Return rows of a predictions or of a selection file.

    Args:
        columns: Of the file.
        rows: With their ids.
        last: The column that only this kind of file has: float16 [num_rows,
            num_classes] or int32 [num_rows].
    """
    arrays = [
        parquet_files.fixed_bytes_array(rows.ids),
        pa.array(rows.class_ids),
        pa.array(rows.confidences),
        pa.array(last)
        if last.ndim == 1
        else parquet_files.fixed_lists_array(last),
    ]
    return pa.record_batch(arrays, schema=columns)


def read_manifest(directory: str, *, num_classes: int) -> dict[str, Any]:
    """Read the manifest of a predictions directory and check its files.

    Raises:
        FileNotFoundError: The directory or one of its files is missing.
        ValueError: It was made for another number of classes, or a file has
            other rows or another teacher than the manifest says.
    """
    manifest = shards.read_manifest(directory)
    if manifest["num_classes"] != num_classes:
        raise ValueError(
            f"{directory} holds probabilities of {manifest['num_classes']} "
            f"classes, but {num_classes} are configured. Label the images "
            "with a teacher of this data, or set --data.num_classes."
        )
    for name, num_images in zip(
        manifest["shards"], manifest["num_images_per_shard"], strict=True
    ):
        path = files.join(directory, name)
        if not files.exists(path):
            raise FileNotFoundError(
                f"{path}, named by the manifest of {directory}, is missing. "
                "Remove the manifest and predict again; only the missing "
                "shard is computed."
            )
        _check_file(path, num_images, manifest[TEACHER])
    return manifest


def _check_file(path: str, num_images: int, teacher: str) -> None:
    with parquet_files.open_reader(path) as reader:
        num_rows = reader.metadata.num_rows
        metadata = reader.schema_arrow.metadata or {}
    if num_rows != num_images:
        raise ValueError(
            f"{path} has {num_rows} rows, but its manifest says {num_images}. "
            "Remove the file and the manifest, and predict again."
        )
    found = metadata.get(TEACHER.encode(), b"").decode()
    if found != teacher:
        raise ValueError(
            f"{path} was made by the teacher {found!r}, but its manifest "
            f"names {teacher!r}. Remove the directory and predict again."
        )


def read_rows(
    path: str, *, num_classes: int, with_ids: bool = True
) -> Iterator[PredictedRows]:
    """Yield the rows of one predictions file in batches of bounded size.

    Raises:
        ValueError: A confidence is not finite or not in [0, 1], a class is
            not in [0, num_classes), or ids are not 16 bytes.
    """
    columns = [CLASS_ID, CONFIDENCE] + ([IMAGE_ID] if with_ids else [])
    no_ids = np.zeros((0, schema.ID_BYTES), np.uint8)
    for batch in parquet_files.read_batches(path, columns):
        class_ids = batch[CLASS_ID].to_numpy()
        confidences = batch[CONFIDENCE].to_numpy()
        _check_rows(path, class_ids, confidences, num_classes)
        ids = (
            parquet_files.image_ids(batch[IMAGE_ID], path)
            if with_ids
            else no_ids
        )
        yield PredictedRows(class_ids, confidences, ids)


def check_probabilities(probabilities: np.ndarray, path: str) -> None:
    """Check rows of stored probabilities.

    Args:
        probabilities: float16 [num_rows, num_classes].
        path: Where they were read.

    Raises:
        ValueError: A row is negative, not finite, or does not sum to 1.
    """
    sums = probabilities.sum(axis=1, dtype=np.float32)
    good = schema.are_probabilities(sums, probabilities.min(axis=1, initial=0))
    if not good.all():
        raise ValueError(
            f"{path}: the probabilities of an image sum to {sums[~good][0]}, "
            "or are negative; accepted are probabilities. The file was not "
            "written by the predicting stage: remove it and predict again."
        )


def _check_rows(
    path: str, class_ids: np.ndarray, confidences: np.ndarray, num_classes: int
) -> None:
    # Written so that not-a-number fails too. A softmax may exceed 1 by its
    # rounding.
    good = (confidences >= 0) & (
        confidences <= 1 + schema.MAX_PROBABILITY_SUM_ERROR
    )
    if not good.all():
        raise ValueError(
            f"{path}: a confidence is {confidences[~good][0]}; accepted are "
            "numbers in [0, 1]. The teacher's outputs are not probabilities."
        )
    if class_ids.size and not (
        class_ids.min() >= 0 and class_ids.max() < num_classes
    ):
        raise ValueError(
            f"{path}: classes reach from {class_ids.min()} to "
            f"{class_ids.max()}; accepted is [0, {num_classes})."
        )
