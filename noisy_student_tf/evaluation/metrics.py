"""Metrics of a classifier, summed over batches and merged exactly.

Sums are integers: counts, and fixed-point numbers where a sum is of reals.
Integer sums do not depend on their order, so any division of the images among
batches, workers or runs gives the same bits.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

_CALIBRATION_BINS = 15
# Among as many classes or fewer it would always be right.
TOP_K = 5
SIGNIFICANCE = 0.05
# Held-out images that can tell: 3 of 4 right beats 1 of 2 from 24 on.
MIN_IMAGES = 30
# Reals are summed in multiples of 2**-32: int64 holds 2**31 confidences.
_FIXED_POINT = 1 << 32

# What a row of results.json says of the classes together; see
# `class_metrics.summarize`.
OF_CLASSES = (
    "majority_rate",
    "macro_f1",
    "balanced_accuracy",
    "auroc",
    "average_precision",
    "positive_class",
)

_NUM_PERMUTATIONS = 2_000
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over images.

    Attributes:
        loss: Cross-entropies in multiples of 2**-32.
        num_images: int64 [num_classes], images per true class.
        num_correct: int64 [num_classes], those whose top class is the true.
        num_in_top5: int64 [num_classes], those with the true class among the
            top 5 (top `num_classes` where there are fewer).
        bin_counts: int64 [15], images per bin of confidence.
        bin_correct: int64 [15], the correct ones.
        bin_confidences: int64 [15], confidences in multiples of 2**-32.
    """

    loss: int
    num_images: np.ndarray
    num_correct: np.ndarray
    num_in_top5: np.ndarray
    bin_counts: np.ndarray
    bin_correct: np.ndarray
    bin_confidences: np.ndarray


def restrict(
    logits: np.ndarray, labels: np.ndarray, classes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Leave only some classes to choose from.

    Args:
        logits: float [batch, num_classes].
        labels: int [batch], each one of `classes`.
        classes: In ascending order.

    Returns:
        Logits float [batch, len(classes)], and labels as places in `classes`.
    """
    places = np.searchsorted(classes, labels)
    return logits[:, list(classes)], places


def zeros(num_classes: int) -> Totals:
    """Return the totals of no image."""
    bins = _CALIBRATION_BINS
    return Totals(
        0,
        *(np.zeros(num_classes, np.int64) for _ in range(3)),
        *(np.zeros(bins, np.int64) for _ in range(3)),
    )


def merge(first: Totals, second: Totals) -> Totals:
    """Return the totals of the images of both."""
    return Totals(
        *(
            getattr(first, field.name) + getattr(second, field.name)
            for field in dataclasses.fields(Totals)
        )
    )


def of_batch(logits: np.ndarray, labels: np.ndarray) -> Totals:
    """Return the totals of one batch.

    Equal logits rank by class, lowest first, as in `argmax`.

    Args:
        logits: float [batch, num_classes], finite.
        labels: int [batch] in [0, num_classes).

    Raises:
        ValueError: Logits are not finite, or labels are out of range.
    """
    logits = np.asarray(logits, np.float64)
    labels = np.asarray(labels, np.int64)
    num_classes = logits.shape[1]
    _check(logits, labels)
    each = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1)
    losses = np.log(sums) - shifted[each, labels]
    places = _places(shifted, labels)
    # The greatest exponential is exp(0).
    confidences = 1 / sums
    bins = np.clip(
        np.ceil(confidences * _CALIBRATION_BINS).astype(int) - 1,
        0,
        _CALIBRATION_BINS - 1,
    )
    is_correct = places == 0

    def per_class(is_counted: np.ndarray) -> np.ndarray:
        return np.bincount(labels[is_counted], minlength=num_classes)

    def per_bin(is_counted: np.ndarray) -> np.ndarray:
        return np.bincount(bins[is_counted], minlength=_CALIBRATION_BINS)

    bin_confidences = np.zeros(_CALIBRATION_BINS, np.int64)
    np.add.at(bin_confidences, bins, _fixed_point(confidences))
    return Totals(
        loss=int(_fixed_point(losses).sum()),
        num_images=per_class(np.full(len(labels), True)),
        num_correct=per_class(is_correct),
        num_in_top5=per_class(places < min(TOP_K, num_classes)),
        bin_counts=per_bin(np.full(len(labels), True)),
        bin_correct=per_bin(is_correct),
        bin_confidences=bin_confidences,
    )


def _places(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how many classes rank before the true one: int64 [batch]."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)  # [batch, 1]
    classes = np.arange(logits.shape[1])
    is_before = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return is_before.sum(axis=1)


def _check(logits: np.ndarray, labels: np.ndarray) -> None:
    if not np.isfinite(logits).all():
        raise ValueError(
            "Logits are not finite. The model has diverged: lower "
            "--optimizer.base_learning_rate."
        )
    num_classes = logits.shape[1]
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(
            f"Labels reach from {labels.min()} to {labels.max()}; accepted is "
            f"[0, {num_classes}). Evaluate on labeled images of the model's "
            "classes."
        )


def _fixed_point(values: np.ndarray) -> np.ndarray:
    return np.rint(values * _FIXED_POINT).astype(np.int64)


def result(totals: Totals) -> dict[str, Any]:
    """Return the metrics.

    Returns:
        num_images; accuracy in [0, 1]; top5_accuracy in [0, 1], None below 6
        classes; loss, the mean cross-entropy in nats; calibration_error in
        [0, 1], over 15 bins of equal width; interval_95, the Wilson interval
        of the accuracy as [low, high]; per_class_accuracy, None for classes
        without images; reliability, [images, mean confidence, accuracy] of
        each of the 15 bins that has images.

    Raises:
        ValueError: There is no image.
    """
    num_images = int(totals.num_images.sum())
    if not num_images:
        raise ValueError(
            "There is no image to evaluate on. Check the evaluation source "
            "and its split."
        )
    num_correct = int(totals.num_correct.sum())
    return {
        "num_images": num_images,
        "accuracy": num_correct / num_images,
        "top5_accuracy": top5_accuracy(
            int(totals.num_in_top5.sum()), num_images, len(totals.num_images)
        ),
        "loss": totals.loss / _FIXED_POINT / num_images,
        "calibration_error": _calibration_error(totals),
        "interval_95": wilson_interval(num_correct, num_images),
        "per_class_accuracy": [
            int(correct) / int(images) if images else None
            for correct, images in zip(
                totals.num_correct, totals.num_images, strict=True
            )
        ],
        "reliability": _reliability(totals),
    }


def _reliability(totals: Totals) -> list[list[Any]]:
    return [
        [
            int(images),
            int(confidences) / _FIXED_POINT / int(images),
            int(correct) / int(images),
        ]
        for images, confidences, correct in zip(
            totals.bin_counts,
            totals.bin_confidences,
            totals.bin_correct,
            strict=True,
        )
        if images
    ]


def top5_accuracy(
    num_correct: int, num_images: int, num_classes: int
) -> float | None:
    """Return the share of images whose class is among the top 5.

    Below 6 classes that would be all: None.
    """
    return num_correct / num_images if num_classes > TOP_K else None


def _calibration_error(totals: Totals) -> float:
    """Return the mean gap between confidence and accuracy, over images."""
    gaps = np.abs(totals.bin_correct - totals.bin_confidences / _FIXED_POINT)
    return float(gaps.sum() / totals.bin_counts.sum())


def wilson_interval(num_correct: int, num_images: int) -> list[float]:
    """Return Wilson's 95 % interval [low, high] of a share of images >= 1."""
    interval = stats.binomtest(num_correct, num_images).proportion_ci(
        method="wilson"
    )
    return [float(interval.low), float(interval.high)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """How a classifier does on some images beside naming one class.

    Attributes:
        num_images: How many.
        accuracy: In [0, 1].
        balanced_accuracy: Mean recall of the classes that have images.
        most_frequent_class: Of the images.
        majority_rate: Its share of the images, in [0, 1].
        num_classes: Classes that have images.
        num_named_classes: Classes that the classifier names for any of them.
        accuracy_p: Probability of so many correct answers by naming the most
            frequent class (binomial, one-sided).
        balanced_accuracy_p: Probability of so large a mean recall if its
            answers were dealt out at random (permutation, one-sided).
    """

    num_images: int
    accuracy: float
    balanced_accuracy: float
    most_frequent_class: int
    majority_rate: float
    num_classes: int
    num_named_classes: int
    accuracy_p: float
    balanced_accuracy_p: float

    @property
    def is_above_chance(self) -> bool:
        """Tell whether it is significantly better than naming one class."""
        return min(self.accuracy_p, self.balanced_accuracy_p) < SIGNIFICANCE

    @property
    def is_large_enough(self) -> bool:
        """Tell whether there are enough images to judge by."""
        return self.num_images >= MIN_IMAGES


def standing(labels: np.ndarray, named: np.ndarray) -> Standing:
    """Compare a classifier's answers with naming one class for every image.

    Two tests, and one of them has to be significant; who names one class for
    everything passes neither. The correct answers are tested against the share
    of the most frequent class. The mean of the classes' recalls, which naming
    any one class leaves at one over their number, is tested against answers
    dealt out at random: it still tells where nearly all images are of one
    class, and no accuracy can be significantly above its share.

    Args:
        labels: int [num_images], at least 1, the true classes.
        named: int [num_images], the classifier's classes.
    """
    classes, counts = np.unique(labels, return_counts=True)
    num_images, num_correct = len(labels), int((labels == named).sum())
    rate = float(counts.max() / num_images)
    test = stats.binomtest(num_correct, num_images, rate, alternative="greater")
    # Weighted by one over its class' images, answers sum to the mean recall.
    recall, p = _permutation_test(labels, named, classes, counts)
    return Standing(
        num_images=num_images,
        accuracy=num_correct / num_images,
        balanced_accuracy=recall,
        most_frequent_class=int(classes[counts.argmax()]),
        majority_rate=rate,
        num_classes=len(classes),
        num_named_classes=len(np.unique(named)),
        accuracy_p=float(test.pvalue),
        balanced_accuracy_p=p,
    )


def _permutation_test(
    labels: np.ndarray,
    named: np.ndarray,
    classes: np.ndarray,
    counts: np.ndarray,
) -> tuple[float, float]:
    """Return the mean recall, and how often chance has one as large."""
    weights = 1 / (len(classes) * counts[np.searchsorted(classes, labels)])

    def mean_recall(answers: np.ndarray) -> float:
        return float(weights[answers == labels].sum())

    observed = mean_recall(named)
    generator = np.random.default_rng(_SEED)
    # Sums of the same numbers in another order may differ by their rounding.
    num_as_large = sum(
        mean_recall(generator.permutation(named)) >= observed - 1e-12
        for _ in range(_NUM_PERMUTATIONS)
    )
    return observed, (1 + num_as_large) / (1 + _NUM_PERMUTATIONS)
