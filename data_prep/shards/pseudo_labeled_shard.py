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
    selected = list(
        predictions.read_batches(
            task.selection_path,
            [
                predictions.IMAGE_ID,
                predictions.CLASS_ID,
                predictions.CONFIDENCE,
                predictions.COPIES,
            ],
        )
    )
    places: dict[bytes, int] = {}
    for batch in selected:
        for image_id in batch[predictions.IMAGE_ID].to_pylist():
            places[image_id] = len(places)

    if sum(map(_num_rows, selected)) != len(places):
        num_repeated = sum(map(_num_rows, selected)) - len(places)
        raise ValueError(
            f"{task.selection_path}: {num_repeated} ids occur more than once. "
            "Build the unlabeled shards again."
        )

    def column(name: str, dtype: str) -> np.ndarray:
        parts = [batch[name].to_numpy() for batch in selected]
        return np.concatenate([np.zeros(0, dtype), *parts])

    labels = _Labels(
        places=places,
        class_ids=column(predictions.CLASS_ID, "int32"),
        confidences=column(predictions.CONFIDENCE, "float32"),
        copies=column(predictions.COPIES, "int32"),
        probabilities=_empty_probabilities(task, len(places)),
    )
    _join_predictions(task, labels)
    return labels


def _num_rows(batch: dict[str, pa.Array]) -> int:
    return len(batch[predictions.IMAGE_ID])


def _empty_probabilities(task: Task, num_rows: int) -> np.ndarray:
    with parquet_files.open_reader(task.predictions_path) as reader:
        column = reader.schema_arrow.field(predictions.PROBABILITIES)
    return np.zeros((num_rows, column.type.list_size), np.float16)


def _join_predictions(task: Task, labels: _Labels) -> None:
    """Fill in what the teacher predicted of the selected images, by id.

    Raises:
        ValueError: A selected image was not predicted, or not to
            probabilities.
    """
    places = labels.places
    is_found = np.zeros(len(places), bool)
    for batch in predictions.read_batches(
        task.predictions_path,
        [
            predictions.IMAGE_ID,
            predictions.CLASS_ID,
            predictions.CONFIDENCE,
            predictions.PROBABILITIES,
        ],
        rows_per_batch=_PREDICTIONS_PER_BATCH,
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
    missing = set(range(len(labels.places))) - set(order)
    names = [
        image_id.hex()
        for image_id, place in labels.places.items()
        if place in missing
    ]
    raise ValueError(
        f"{task.unlabeled_path}: {len(missing)} selected images are missing "
        f"({', '.join(names[:_IDS_NAMED])}) and "
        f"{len(order) - len(set(order))} occur again. Its images are not "
        f"those of {task.predictions_path}; predict and select again."
    )


def _write_index(
    task: Task, labels: _Labels, order: list[int], image_hashes: list[bytes]
) -> None:
    ids = list(labels.places)
    places = np.array(order, int)
    columns = pa.schema(
        [
            ("image_id", pa.binary(schema.ID_BYTES)),
            ("image_sha256", pa.binary(32)),
            ("class_id", pa.int32()),
            ("confidence", pa.float32()),
            ("copies", pa.int32()),
        ],
        metadata={
            _MADE_FROM: _made_from(task),
            RECORDS_SHA256: shards.fingerprint(task.records_path),
        },
    )
    table = pa.table(
        [
            pa.array([ids[place] for place in order], columns.types[0]),
            pa.array(image_hashes, columns.types[1]),
            pa.array(labels.class_ids[places]),
            pa.array(labels.confidences[places]),
            pa.array(labels.copies[places]),
        ],
        schema=columns,
    )
    with parquet_files.open_writer(task.index_path, columns) as writer:
        writer.write_table(table)
