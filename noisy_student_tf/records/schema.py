"""The records of shards: keys, ids, and how they are written and parsed."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    # What only looks at ids and names need not wait for it.
    import tensorflow as tf

IMAGE = "image/encoded"
IMAGE_ID = "image/id"
IMAGE_SHA256 = "image/sha256"
LABEL = "image/label"
PROBABILITIES = "pseudo_label/probabilities"
PSEUDO_CLASS = "pseudo_label/class"
CONFIDENCE = "pseudo_label/confidence"
COPIES = "pseudo_label/copies"
ITERATION = "pseudo_label/iteration"

# The column of an index that holds the same.
COPIES_COLUMN = "copies"

# Keys of the authors' pseudo-labeled records; pictures are under `IMAGE`.
PUBLISHED_PROBABILITIES = "probabilities"
PUBLISHED_LABEL = "label"

# The key of ImageNet TFRecords, whose labels start at 1.
IMAGENET_LABEL = "image/class/label"

NO_LABEL = -1
ID_BYTES = 16
MAX_PROBABILITY_SUM_ERROR = 1e-2

_HALF_BYTES = 2
# Stands where a published record has fewer probabilities than another.
_NOTHING = float("-inf")


def make_id(source_name: str, key: str) -> bytes:
    """Return the 16-byte id of an image.

    Args:
        source_name: Name of the source, never a path of one machine.
        key: Path relative to the source, or record index.
    """
    text = f"{source_name}/{key}".encode()
    return hashlib.blake2b(text, digest_size=ID_BYTES).digest()


def unit_hash(image_id: bytes, purpose: str) -> float:
    """Return a number in [0, 1) that depends on the id and the purpose only."""
    digest = hashlib.blake2b(
        image_id, digest_size=8, person=purpose.encode()[:16]
    ).digest()
    # 53 bits are what a double holds exactly.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def encode_image(
    *, image: bytes, image_id: bytes, label: int | None = None
) -> bytes:
    """Serialize a labeled or unlabeled image.

    Args:
        image: The encoded picture, as it is stored.
        image_id: What `make_id` returned.
        label: 0-based class; None leaves the key out.
    """
    import tensorflow as tf

    example = tf.train.Example()
    feature = example.features.feature
    feature[IMAGE].bytes_list.value[:] = [image]
    feature[IMAGE_ID].bytes_list.value[:] = [image_id]
    digest = hashlib.sha256(image).digest()
    feature[IMAGE_SHA256].bytes_list.value[:] = [digest]
    if label is not None:
        feature[LABEL].int64_list.value[:] = [label]
    return example.SerializeToString(deterministic=True)


def stored_bytes(example: "tf.train.Example", key: str) -> bytes:
    """Return a record's bytes under a key; none where it has no such key."""
    values = example.features.feature[key].bytes_list.value
    return values[0] if values else b""


def are_probabilities(sums: Any, minima: Any) -> Any:
    """Tell which rows are probabilities, as far as a half float can.

    Args:
        sums: float [...] of the rows, array or tensor.
        minima: float [...] of the rows.

    Returns:
        bool [...]: none is negative and their sum is 1 but for
        `MAX_PROBABILITY_SUM_ERROR`; False for not-a-number.
    """
    return (abs(sums - 1) <= MAX_PROBABILITY_SUM_ERROR) & (minima >= 0)


def set_pseudo_label(
    example: "tf.train.Example",
    *,
    class_id: int,
    probabilities: np.ndarray,
    confidence: float,
    copies: int,
    iteration: int,
) -> bytes:
    """Return an image's record with a pseudo-label added or replaced.

    Args:
        example: What `encode_image` serialized; changed in place.
        class_id: The most probable class, taken before rounding.
        probabilities: float [num_classes]; stored as little-endian float16.
        confidence: The float32 maximum, taken before rounding to float16.
        copies: How often an epoch shows the image.
        iteration: Which student it is made for, from 1.
    """
    feature = example.features.feature
    halves = np.asarray(probabilities).astype("<f2", copy=False)
    # Slices set and replace; making messages to copy takes twice as long.
    feature[PROBABILITIES].bytes_list.value[:] = [halves.tobytes()]
    feature[PSEUDO_CLASS].int64_list.value[:] = [class_id]
    feature[CONFIDENCE].float_list.value[:] = [confidence]
    feature[COPIES].int64_list.value[:] = [copies]
    feature[ITERATION].int64_list.value[:] = [iteration]
    return example.SerializeToString(deterministic=True)


def parse_image(record: "tf.Tensor") -> "dict[str, tf.Tensor]":
    """Parse labeled or unlabeled records inside tf.data.

    Args:
        record: string [...], one record or many.

    Returns:
        image: string [...]; image_id: string [...]; label: int64 [...],
        `NO_LABEL` where a record has none.
    """
    import tensorflow as tf

    features = tf.io.parse_example(
        record,
        {
            IMAGE: tf.io.FixedLenFeature([], tf.string),
            IMAGE_ID: tf.io.FixedLenFeature([], tf.string),
            LABEL: tf.io.FixedLenFeature([], tf.int64, NO_LABEL),
        },
    )
    return {
        "image": features[IMAGE],
        "image_id": features[IMAGE_ID],
        "label": features[LABEL],
    }


def parse_imagenet(record: "tf.Tensor") -> "dict[str, tf.Tensor]":
    """Parse ImageNet records, whose labels start at 1; ids are empty."""
    import tensorflow as tf

    features = tf.io.parse_example(
        record,
        {
            IMAGE: tf.io.FixedLenFeature([], tf.string),
            IMAGENET_LABEL: tf.io.FixedLenFeature([], tf.int64),
        },
    )
    return {
        "image": features[IMAGE],
        "image_id": tf.zeros_like(features[IMAGE]),
        "label": features[IMAGENET_LABEL] - 1,
    }


def parse_copies(record: "tf.Tensor") -> "tf.Tensor":
    """Return how often an epoch shows pseudo-labeled records: int64 [...]."""
    import tensorflow as tf

    return tf.io.parse_example(
        record, {COPIES: tf.io.FixedLenFeature([], tf.int64, 1)}
    )[COPIES]


def parse_pseudo_labeled(
    record: "tf.Tensor", *, num_classes: int
) -> "dict[str, tf.Tensor]":
    """Parse pseudo-labeled records inside tf.data.

    Args:
        record: string [...], one record or many.
        num_classes: The model's.

    Returns:
        image: string [...]; probabilities: float32 [..., num_classes],
        renormalized to sum 1; problem: string [...], what is wrong with the
        soft label (another number of classes, negative, not finite, or its sum
        off by more than 0.01), or empty. Where something is, probabilities
        mean nothing.
    """
    import tensorflow as tf

    features = tf.io.parse_example(
        record,
        {
            IMAGE: tf.io.FixedLenFeature([], tf.string),
            PROBABILITIES: tf.io.FixedLenFeature([], tf.string),
        },
    )
    stored = features[PROBABILITIES]
    num_bytes = num_classes * _HALF_BYTES
    # Of a fixed length it cannot decode float16.
    words = tf.io.decode_raw(stored, tf.uint16, fixed_length=num_bytes)
    halves = tf.bitcast(words, tf.float16)
    return {
        "image": features[IMAGE],
        **_soft_label(
            tf.cast(halves, tf.float32),
            is_whole=tf.strings.length(stored) == num_bytes,
            num_classes=num_classes,
        ),
    }


def parse_published(
    record: "tf.Tensor", *, num_classes: int
) -> "dict[str, tf.Tensor]":
    """Parse those of the authors' code; see `parse_pseudo_labeled`."""
    import tensorflow as tf

    features = tf.io.parse_example(
        record,
        {
            IMAGE: tf.io.FixedLenFeature([], tf.string),
            PUBLISHED_PROBABILITIES: tf.io.FixedLenSequenceFeature(
                [], tf.float32, allow_missing=True, default_value=_NOTHING
            ),
        },
    )
    # Shorter rows are filled up to the longest.
    stored = features[PUBLISHED_PROBABILITIES]
    size = tf.math.count_nonzero(stored != _NOTHING, axis=-1)
    fill = [[0, 0]] * (len(stored.shape) - 1) + [[0, num_classes]]
    return {
        "image": features[IMAGE],
        **_soft_label(
            tf.pad(stored, fill)[..., :num_classes],
            is_whole=size == num_classes,
            num_classes=num_classes,
        ),
    }


def _soft_label(
    probabilities: "tf.Tensor", *, is_whole: "tf.Tensor", num_classes: int
) -> "dict[str, tf.Tensor]":
    """Return probabilities with sum 1, and what is wrong with them.

    Args:
        probabilities: float32 [..., num_classes].
        is_whole: bool [...], whether there were as many.
        num_classes: The model's.
    """
    import tensorflow as tf

    total = tf.reduce_sum(probabilities, -1, keepdims=True)
    lowest = tf.reduce_min(probabilities, -1)
    problem = tf.where(
        are_probabilities(total[..., 0], lowest),
        "",
        "A soft label is negative or not a number, or its probabilities do not "
        "sum to 1.",
    )
    problem = tf.where(
        is_whole,
        problem,
        "A soft label has another number of classes than the model. Label the "
        "images again with a teacher of this data.",
    )
    shape = [*is_whole.shape, num_classes]
    return {
        "probabilities": tf.ensure_shape(probabilities / total, shape),
        "problem": problem,
    }
