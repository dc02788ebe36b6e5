"""Predictions on disk, made from arrays."""

import hashlib
import os

import numpy as np
import pyarrow as pa

from noisy_student_tf.records import parquet_files, predictions, shards


def make_ids(num_images):
    """uint8 [num_images, 16]."""
    digests = [
        hashlib.blake2b(str(i).encode(), digest_size=16).digest()
        for i in range(num_images)
    ]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


def write_predictions(
    directory,
    class_ids,
    confidences,
    *,
    num_classes,
    cuts=(),
    ids=None,
    unlabeled="images",
):
    """Write rows in order, divided into files before the rows `cuts`."""
    os.makedirs(directory, exist_ok=True)
    class_ids = np.asarray(class_ids, np.int32)
    confidences = np.asarray(confidences, np.float32)
    ids = make_ids(len(class_ids)) if ids is None else ids
    parts = np.split(np.arange(len(class_ids)), sorted(cuts))
    names = []
    for index, part in enumerate(parts):
        columns = predictions.predictions_schema(
            num_classes,
            metadata={
                predictions.TEACHER: "abc",
                predictions.UNLABELED: unlabeled,
                predictions.UNLABELED_SHARD: str(index),
            },
        )
        names.append(predictions.predictions_name(index, len(parts)))
        soft = np.zeros((len(part), num_classes), np.float16)
        soft[np.arange(len(part)), class_ids[part]] = 1
        table = pa.table(
            [
                parquet_files.fixed_bytes_array(ids[part]),
                pa.array(class_ids[part]),
                pa.array(confidences[part]),
                parquet_files.fixed_lists_array(soft),
            ],
            schema=columns,
        )
        path = os.path.join(directory, names[-1])
        with parquet_files.open_writer(path, columns) as writer:
            writer.write_table(table)
    shards.write_manifest(
        str(directory),
        {
            predictions.TEACHER: "abc",
            predictions.UNLABELED: unlabeled,
            "num_classes": num_classes,
            "num_images": len(class_ids),
            "shards": names,
            "num_images_per_shard": [len(part) for part in parts],
            "unlabeled_shards": [str(i) for i in range(len(parts))],
        },
    )


def read_selection(directory):
    """Return {id: copies} of all selection files."""
    copies = {}
    for name in sorted(os.listdir(directory)):
        if name.endswith(".parquet"):
            for batch in parquet_files.read_batches(
                os.path.join(directory, name), ["image_id", "copies"]
            ):
                columns = (batch[key].to_pylist() for key in batch)
                for image_id, count in zip(*columns, strict=True):
                    assert image_id not in copies
                    copies[image_id] = count
    return copies
