"""Write one shard of selected images with their soft labels.

Images, predictions and selection of the shard are joined by id.
"""

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import tensorflow as tf
from google.protobuf import message

from noisy_student_tf import files
from noisy_student_tf.records import (
    parquet_files,
    predictions,
    schema,
    shards,
)

RECORDS_SHA256 = "records_sha256"

_MADE_FROM = "made_from"
_RECORDS_PER_BATCH = 256
_PREDICTIONS_PER_BATCH = 8192
_IDS_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Task:
    """One shard: its inputs and outputs.

    Attributes:
        unlabeled_path: Records of the images.
        predictions_path: Probabilities of all of them.
        selection_path: Which of them, and how often.
        records_path: Where the records appear.
        index_path: Where their index appears, when they are complete.
        iteration: Which student they are made for, from 1.
        teacher_fingerprint: Of the teacher that made the predictions.
        reassigns: Whether class and confidence are those of the predictions,
            too, which another teacher made than the selection's.
    """

    unlabeled_path: str
    predictions_path: str
    selection_path: str
    records_path: str
    index_path: str
    iteration: int
    teacher_fingerprint: str
    reassigns: bool = False


@dataclasses.dataclass(frozen=True)
class _Labels:
    """The selected rows of one shard.

    Attributes:
        places: Id to row of the arrays.
        class_ids: int32 [num_selected].
        confidences: float32 [num_selected].
        copies: int32 [num_selected].
        probabilities: float16 [num_selected, num_classes].
    """

    places: dict[bytes, int]
    class_ids: np.ndarray
    confidences: np.ndarray
    copies: np.ndarray
    probabilities: np.ndarray


def write_shard(task: Task) -> None:
    """Write one shard of records, then its index, which marks it finished.

    A shard that was finished from the same inputs is skipped.

    Raises:
        ValueError: Selected images are missing among the predictions or the
            images, or occur again.
    """
    made_from = _made_from(task)
    if files.exists(task.index_path) and files.exists(task.records_path):
        metadata = parquet_files.read_metadata(task.index_path)
        if metadata.get(_MADE_FROM) == made_from:
            return
    labels = _read_labels(task)
    order: list[int] = []
    image_hashes: list[bytes] = []
    with shards.open_writer(task.records_path) as writer:
        for example in _read_images(task.unlabeled_path):
            image_id = schema.stored_bytes(example, schema.IMAGE_ID)
            place = labels.places.get(image_id)
            if place is None:
                continue
            image_hashes.append(
                schema.stored_bytes(example, schema.IMAGE_SHA256)
            )
            writer.write(
                schema.set_pseudo_label(
                    example,
                    class_id=int(labels.class_ids[place]),
                    probabilities=labels.probabilities[place],
                    confidence=float(labels.confidences[place]),
                    copies=int(labels.copies[place]),
                    iteration=task.iteration,
                )
            )
            order.append(place)
        _check_join(task, labels, order)
    _write_index(task, labels, order, image_hashes)


def _made_from(task: Task) -> str:
    return json.dumps(
        {
            "selection": shards.fingerprint(task.selection_path),
            predictions.TEACHER: task.teacher_fingerprint,
            "iteration": task.iteration,
            "reassigns": task.reassigns,
        },
        sort_keys=True,
    )


def _read_labels(task: Task) -> _Labels:
    selected = parquet_files.read_columns(
        task.selection_path, predictions.selection_schema().names
    )
    ids = selected[predictions.IMAGE_ID].to_pylist()
    places = {image_id: place for place, image_id in enumerate(ids)}
    if len(places) != len(ids):
        raise ValueError(
            f"{task.selection_path}: {len(ids) - len(places)} ids occur more "
            "than once. Build the unlabeled shards again."
        )
    with parquet_files.open_reader(task.predictions_path) as reader:
        column = reader.schema_arrow.field(predictions.PROBABILITIES)
    labels = _Labels(
        places=places,
        class_ids=np.array(selected[predictions.CLASS_ID]),
        confidences=np.array(selected[predictions.CONFIDENCE]),
        copies=np.array(selected[predictions.COPIES]),
        probabilities=np.zeros((len(ids), column.type.list_size), np.float16),
    )
    _join_predictions(task, labels)
    return labels


def _join_predictions(task: Task, labels: _Labels) -> None:
    """Fill in what the teacher predicted of the selected images, by id.

    Raises:
        ValueError: A selected image was not predicted, or not to
            probabilities.
    """
    places = labels.places
    is_found = np.zeros(len(places), bool)
    columns = [
        predictions.IMAGE_ID,
        predictions.CLASS_ID,
        predictions.CONFIDENCE,
        predictions.PROBABILITIES,
    ]
    for batch in predictions.read_batches(
        task.predictions_path, columns, rows_per_batch=_PREDICTIONS_PER_BATCH
    ):
        ids = batch[predictions.IMAGE_ID].to_pylist()
        found = np.array([places.get(image_id, -1) for image_id in ids], int)
        rows = np.flatnonzero(found >= 0)
        targets = found[rows]
        soft = parquet_files.fixed_lists(batch[predictions.PROBABILITIES])[rows]
        predictions.check_probabilities(soft, task.predictions_path)
        labels.probabilities[targets] = soft
        is_found[targets] = True
        if task.reassigns:
            class_ids = batch[predictions.CLASS_ID].to_numpy()
            confidences = batch[predictions.CONFIDENCE].to_numpy()
            labels.class_ids[targets] = class_ids[rows]
            labels.confidences[targets] = confidences[rows]
    if not is_found.all():
        raise ValueError(
            f"{task.predictions_path} lacks {np.sum(~is_found)} images that "
            f"{task.selection_path} selects. Predict again."
        )


def _read_images(path: str) -> Iterator[tf.train.Example]:
    """Yield the records of all images of a shard.

    Raises:
        ValueError: The file is damaged, or holds something else.
    """
    number = 0
    try:
        # Whole batches cross from TensorFlow at once.
        batches = tf.data.TFRecordDataset(path).batch(_RECORDS_PER_BATCH)
        for batch in batches.prefetch(2).as_numpy_iterator():
            for record in batch:
                yield tf.train.Example.FromString(record)
                number += 1
    except (tf.errors.DataLossError, message.DecodeError) as error:
        raise ValueError(
            f"{path}: damaged or truncated, at record {number} or soon behind "
            f"it ({error}). Remove the manifest of its directory and the "
            "shard's index, and build the unlabeled shards again; only this "
            "one is written."
        ) from error


def _check_join(task: Task, labels: _Labels, order: list[int]) -> None:
    """Check that every selected image was found, and once."""
    if len(order) == len(set(order)) == len(labels.places):
        return
    found = set(order)
    missing = [
        image_id.hex()
        for image_id, place in labels.places.items()
        if place not in found
    ]
    raise ValueError(
        f"{task.unlabeled_path}: {len(missing)} selected images are missing "
        f"({', '.join(missing[:_IDS_NAMED])}) and "
        f"{len(order) - len(found)} occur again. Its images are not "
        f"those of {task.predictions_path}; predict and select again."
    )


def _write_index(
    task: Task, labels: _Labels, order: list[int], image_hashes: list[bytes]
) -> None:
    ids = list(labels.places)
    places = np.array(order, int)
    table = pa.table(
        {
            predictions.IMAGE_ID: pa.array(
                [ids[place] for place in order], pa.binary(schema.ID_BYTES)
            ),
            "image_sha256": pa.array(image_hashes, pa.binary(32)),
            predictions.CLASS_ID: labels.class_ids[places],
            predictions.CONFIDENCE: labels.confidences[places],
            predictions.COPIES: labels.copies[places],
        },
        metadata={
            _MADE_FROM: _made_from(task),
            RECORDS_SHA256: shards.fingerprint(task.records_path),
        },
    )
    parquet_files.write_table(task.index_path, table)
