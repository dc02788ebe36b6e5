"""Unlabeled images of unequal classes, made of a run's unlabeled shards.

JFT's classes differ a thousandfold in size, Fashion-MNIST's not at all: what
balancing is for must be brought about. The true labels that this takes are
known to the study alone; no stage reads them.
"""

import hashlib

import numpy as np
import tensorflow as tf

from noisy_student_tf import files, workdir
from noisy_student_tf.evaluation import report_labels
from noisy_student_tf.records import schema, shards

# How many times as many images the first class keeps as the last.
RATIO = 10.0
_UNIT = 2**64
_BATCH_SIZE = 1000


def shares(num_classes: int) -> np.ndarray:
    """Return the share of each class that is kept, a geometric sequence.

    Args:
        num_classes: At least 2.

    Returns:
        float64 [num_classes], from 1 down to 1 / `RATIO`.
    """
    return RATIO ** -np.linspace(0.0, 1.0, num_classes)


def is_kept(image_id: bytes, share: float) -> bool:
    """Tell whether an image is among the share that is kept of its class."""
    digest = hashlib.blake2b(image_id, digest_size=8, person=b"long tail")
    return int.from_bytes(digest.digest(), "big") < share * _UNIT


def write(data: workdir.Workdir, directory: str) -> None:
    """Write the shards, which `data.unlabeled` can name as a source.

    A finished folder is left alone.

    Args:
        data: The run whose unlabeled images and true labels are read.
        directory: Where shards and manifest appear.
    """
    if shards.is_finished(directory):
        return
    files.make_directories(directory)
    truth = report_labels.read_truth(
        files.join(data.unlabeled, "truth.parquet")
    )
    kept = shares(int(truth.labels.max()) + 1)
    counts = np.zeros(len(kept), np.int64)
    for path in shards.open_split(data.unlabeled, "unlabeled").paths:
        name = path.rsplit("/", 1)[-1]
        with shards.open_writer(files.join(directory, name)) as writer:
            for batch in tf.data.TFRecordDataset(path).batch(_BATCH_SIZE):
                ids = schema.parse_image(batch)["image_id"].numpy()
                labels = truth.look_up(
                    np.stack([np.frombuffer(each, np.uint8) for each in ids])
                )
                for record, image_id, label in zip(
                    batch.numpy(), ids, labels, strict=True
                ):
                    if is_kept(image_id, kept[label]):
                        writer.write(record)
                        counts[label] += 1
    shards.write_manifest(directory, {"counts_per_class": counts.tolist()})
