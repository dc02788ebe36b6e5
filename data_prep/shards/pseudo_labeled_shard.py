"""Write one shard of selected images with their soft labels.

Images, predictions and selection of the shard are joined by id.
"""

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from google.protobuf import message

from data_prep.shards import progress
from noisy_student_tf import files
from noisy_student_tf.records import parquet_files, predictions, schema, shards

RECORDS_SHA256 = "records_sha256"

_MADE_FROM = "made_from"
_RECORDS_PER_BATCH = 256
_PREDICTIONS_PER_BATCH = 8192
_REASSIGNED = (predictions.CLASS_ID, predictions.CONFIDENCE)
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


def write_shard(task: Task) -> None:
    """Write one shard and then its index, unless they are of these inputs.

    Raises:
        ValueError: Selected images are missing among the predictions or the
            images, or occur again.
    """
    made_from = _made_from(task)
    if files.exists(task.index_path) and files.exists(task.records_path):
        found = parquet_files.read_metadata(task.index_path)
        if found.get(_MADE_FROM) == made_from:
            return
    ids, labels = _read_labels(task)
    places = {image_id: place for place, image_id in enumerate(ids.to_pylist())}
    order: list[int] = []
    image_hashes: list[bytes] = []
    with shards.open_writer(task.records_path) as writer:
        for example in _read_images(task.unlabeled_path):
            image_id = schema.stored_bytes(example, schema.IMAGE_ID)
            place = places.get(image_id)
            progress.advance(1)
            if place is None:
                continue
            order.append(place)
            digest = schema.stored_bytes(example, schema.IMAGE_SHA256)
            image_hashes.append(digest)
            record = schema.set_pseudo_label(
                example,
                class_id=int(labels[predictions.CLASS_ID][place]),
                probabilities=labels[predictions.PROBABILITIES][place],
                confidence=float(labels[predictions.CONFIDENCE][place]),
                copies=int(labels[predictions.COPIES][place]),
                iteration=task.iteration,
            )
            writer.write(record)
        _check_join(task, places, order)
    del labels[predictions.PROBABILITIES]
    rows = np.array(order, int)
    table = pa.table(
        {
            predictions.IMAGE_ID: ids.take(pa.array(rows)),
            "image_sha256": pa.array(image_hashes, pa.binary(32)),
            **{name: column[rows] for name, column in labels.items()},
        },
        metadata={
            _MADE_FROM: made_from,
            RECORDS_SHA256: shards.fingerprint(task.records_path),
        },
    )
    parquet_files.write_table(task.index_path, table)


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


def _read_labels(
    task: Task,
) -> tuple[pa.FixedSizeBinaryArray, dict[str, np.ndarray]]:
    """Return the selected images' ids, and their labels by column.

    What the teacher predicted of them is joined by id. Columns are class_id
    and copies, int32 [num_selected], confidence, float32 [num_selected], and
    probabilities, float16 [num_selected, num_classes].

    Raises:
        ValueError: A selected image occurs again, was not predicted, or not to
            probabilities.
    """
    columns = parquet_files.read_columns(
        task.selection_path, predictions.selection_schema().names
    )
    ids = columns.pop(predictions.IMAGE_ID)
    num_repeated = len(ids) - len(ids.unique())
    if num_repeated:
        raise ValueError(
            f"{task.selection_path}: {num_repeated} ids occur more "
            "than once. Build the unlabeled shards again."
        )
    labels = {name: np.array(column) for name, column in columns.items()}
    with parquet_files.open_reader(task.predictions_path) as reader:
        column = reader.schema_arrow.field(predictions.PROBABILITIES)
    soft = np.zeros((len(ids), column.type.list_size), np.float16)
    is_found = np.zeros(len(ids), bool)
    reassigned = _REASSIGNED if task.reassigns else ()
    for batch in parquet_files.read_batches(
        task.predictions_path,
        [predictions.IMAGE_ID, predictions.PROBABILITIES, *reassigned],
        rows_per_batch=_PREDICTIONS_PER_BATCH,
    ):
        places = pc.index_in(batch[predictions.IMAGE_ID], value_set=ids)
        rows = np.flatnonzero(places.is_valid())
        targets = places.drop_null().to_numpy()
        found = parquet_files.fixed_lists(batch[predictions.PROBABILITIES])
        predictions.check_probabilities(found[rows], task.predictions_path)
        soft[targets] = found[rows]
        is_found[targets] = True
        for name in reassigned:
            labels[name][targets] = batch[name].to_numpy()[rows]
    if not is_found.all():
        raise ValueError(
            f"{task.predictions_path} lacks {np.sum(~is_found)} images that "
            f"{task.selection_path} selects. Predict again."
        )
    return ids, {**labels, predictions.PROBABILITIES: soft}


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


def _check_join(task: Task, places: dict[bytes, int], order: list[int]) -> None:
    """Check that every selected image was found, and once."""
    if len(order) == len(set(order)) == len(places):
        return
    found = set(order)
    missing = [
        image_id.hex()
        for image_id, place in places.items()
        if place not in found
    ]
    raise ValueError(
        f"{task.unlabeled_path}: {len(missing)} selected images are missing "
        f"({', '.join(missing[:_IDS_NAMED])}) and "
        f"{len(order) - len(found)} occur again. Its images are not "
        f"those of {task.predictions_path}; predict and select again."
    )
