"""The authors' rule of selection: thresholds on a grid of 0.01.

Kept for comparison. Unlike `select` it is no strict top K: a class keeps every
image at or above its threshold, up to one bin too many, and thins or repeats
them at random, so that the quota holds in expectation only.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from noisy_student_tf.pseudo_labels import ranks
from noisy_student_tf.records import predictions

# The authors' filter_unlabel.py: the grid 0.00, 0.01, ..., 1.00.
NUM_BINS = 101
_EDGES = np.arange(NUM_BINS) / 100


@dataclasses.dataclass(frozen=True)
class PublishedSelection:
    """What the rule keeps, per class.

    Attributes:
        thresholds: float64 [num_classes], lower edge of the last bin kept.
        num_at_or_above: int64 [num_classes], images at or above it.
        expected_copies: float64 [num_classes], quota / images: an image is
            written floor(expected_copies) times, and once more with the
            probability of the fraction; 0 without images.
    """

    thresholds: np.ndarray
    num_at_or_above: np.ndarray
    expected_copies: np.ndarray


def histogram(
    class_ids: np.ndarray, confidences: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Count confidences per class and bin; histograms of shards add up.

    Args:
        class_ids: int [num_images] in [0, num_classes).
        confidences: float32 [num_images] in [0, 1].
        num_classes: Number of classes.

    Returns:
        int64 [num_classes, 101]; bin i holds [i / 100, (i + 1) / 100).
    """
    cells = np.asarray(class_ids, np.int64) * NUM_BINS + _bins(confidences)
    counts = np.bincount(cells, minlength=num_classes * NUM_BINS)
    return counts.reshape(num_classes, NUM_BINS)


def count(
    rows: Iterator[predictions.PredictedRows], *, num_classes: int
) -> np.ndarray:
    """Return the histogram of one shard's rows: int64 [num_classes, 101]."""
    total = np.zeros((num_classes, NUM_BINS), np.int64)
    for batch in rows:
        total += histogram(
            batch.class_ids, batch.confidences, num_classes=num_classes
        )
    return total


def _bins(confidences: np.ndarray) -> np.ndarray:
    # A softmax may exceed 1 by its rounding.
    bins = np.searchsorted(_EDGES, confidences, side="right") - 1
    return np.minimum(bins, NUM_BINS - 1)


def select_thresholds(
    counts: np.ndarray, *, confidence_threshold: float, images_per_class: int
) -> PublishedSelection:
    """Walk down from 1.00 until a class has its images.

    Args:
        counts: int64 [num_classes, 101], the sum of all histograms.
        confidence_threshold: No class goes below it.
        images_per_class: Quota of each class.
    """
    lowest = int(np.searchsorted(_EDGES, confidence_threshold))
    # totals[:, i]: images at or above edge i.
    totals = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    is_enough = totals >= images_per_class
    # The highest edge with enough images, or the lowest edge allowed.
    highest = NUM_BINS - 1 - is_enough[:, ::-1].argmax(axis=1)
    chosen = np.where(is_enough.any(axis=1), highest, lowest)
    chosen = np.maximum(chosen, lowest)
    num_at_or_above = totals[np.arange(len(counts)), chosen]
    return PublishedSelection(
        thresholds=_EDGES[chosen],
        num_at_or_above=num_at_or_above,
        expected_copies=np.where(
            num_at_or_above > 0,
            images_per_class / np.maximum(num_at_or_above, 1),
            0.0,
        ),
    )


def draw(
    rows: predictions.PredictedRows, *, selection: PublishedSelection, seed: int
) -> np.ndarray:
    """Return how often each row is taken: int32 [num_rows].

    Its id and the seed decide; the authors draw without a seed.
    """
    classes = rows.class_ids
    first_bins = np.searchsorted(_EDGES, selection.thresholds)
    expected = np.where(
        _bins(rows.confidences) >= first_bins[classes],
        selection.expected_copies[classes],
        0.0,
    )
    floors = np.floor(expected)
    copies = floors.astype(np.int32)
    drawn = np.flatnonzero(expected > floors)
    words = ranks.id_words(rows.ids[drawn])
    draws = ranks.hashes(words, seed=seed, purpose="copies")
    shares = draws.astype(np.float64) / 2**ranks.HASH_BITS
    copies[drawn] += shares < (expected - floors)[drawn]
    return copies
