"""Parts of a run's unlabeled images, as shards that another run may label.

Which images they are is decided by what the study alone knows: true labels, or
how sure another run's teacher was. No stage reads that.
"""

import hashlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.records import predictions, schema, shards
from noisy_student_tf.report import label_counts

# How many times as many images a long tail's first class keeps as its last.
RATIO = 10.0
_UNIT = 2**64
_BATCH_SIZE = 1000

# Place of a shard and ids, uint8 [num_images, 16], to bool [num_images].
_IsKept = Callable[[int, np.ndarray], np.ndarray]


def write_long_tail(
    data: workdirs.Workdir, _: configs.Config, directory: str
) -> None:
    """Write images of unequal classes.

    JFT's classes differ a thousandfold in size, Fashion-MNIST's not at all:
    what balancing is for must be brought about. A finished folder is left
    alone.

    Args:
        data: The run whose unlabeled images and true labels are read.
        directory: Where shards and manifest appear, which `data.unlabeled` can
            name as a source.
    """

    def is_kept(_: int, ids: np.ndarray) -> np.ndarray:
        labels = truth.of(ids)
        return np.array(
            [
                is_among(image_id.tobytes(), kept[label])
                for image_id, label in zip(ids, labels, strict=True)
            ]
        )

    if shards.is_finished(directory):
        return
    truth = label_counts.read_truth(data)
    kept = shares(int(truth.values.max()) + 1)
    _write(data, directory, is_kept)


def shares(num_classes: int) -> np.ndarray:
    """Return the share of each class that is kept, a geometric sequence.

    Args:
        num_classes: At least 2.

    Returns:
        float64 [num_classes], from 1 down to 1 / `RATIO`.
    """
    return RATIO ** -np.linspace(0.0, 1.0, num_classes)


def is_among(image_id: bytes, share: float) -> bool:
    """Tell whether an image is among the share that is kept of its class."""
    digest = hashlib.blake2b(image_id, digest_size=8, person=b"long tail")
    return int.from_bytes(digest.digest(), "big") < share * _UNIT


def write_unsure(
    data: workdirs.Workdir, config: configs.Config, directory: str
) -> None:
    """Write the images of which a run's first teacher was not sure.

    A finished folder is left alone.

    Args:
        data: The run whose unlabeled images and first predictions are read.
        config: Of that run: its threshold is what a confidence stays below.
        directory: See `write_long_tail`.
    """

    def is_kept(place: int, ids: np.ndarray) -> np.ndarray:
        name = predictions.predictions_name(place, count)
        unsure = {
            image_id.tobytes()
            for rows in predictions.read_rows(
                files.join(data.predictions(1), name),
                num_classes=config.data.num_classes,
            )
            for image_id in rows.ids[
                rows.confidences < config.selection.confidence_threshold
            ]
        }
        return np.array([each.tobytes() in unsure for each in ids])

    if shards.is_finished(directory):
        return
    count = len(shards.open_split(data.unlabeled, "unlabeled").paths)
    _write(data, directory, is_kept)


def _write(data: workdirs.Workdir, directory: str, is_kept: _IsKept) -> None:
    """Write the records that are kept, and at the end the manifest."""
    files.make_directories(directory)
    num_kept = 0
    paths = shards.open_split(data.unlabeled, "unlabeled").paths
    for place, path in enumerate(paths):
        name = path.rsplit("/", 1)[-1]
        with shards.open_writer(files.join(directory, name)) as writer:
            for batch in tf.data.TFRecordDataset(path).batch(_BATCH_SIZE):
                image_ids = schema.parse_image(batch)["image_id"].numpy()
                ids = np.stack([np.frombuffer(i, np.uint8) for i in image_ids])
                kept = batch.numpy()[is_kept(place, ids)]
                num_kept += len(kept)
                for record in kept:
                    writer.write(record)
    shards.write_manifest(directory, {"num_images": num_kept})
