"""Whether a classifier is better than naming one class for every image.

Two tests, each exact or by permutation, and one of them has to be significant:

- its correct answers against the share of the most frequent class, which is
  what naming that class would get right;
- the mean of the classes' recalls, which naming any one class leaves at one
  over the number of classes, against answers dealt out at random among the
  images. Where nearly all images are of one class no accuracy can be
  significantly above its share, and this still can.

Whoever names one class for everything passes neither.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

SIGNIFICANCE = 0.05
# Held-out images that can tell: 3 of 4 right beats 1 of 2 from 24 on.
MIN_IMAGES = 30

_NUM_PERMUTATIONS = 2_000
_SEED = 0


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
    """Compare a classifier's answers with naming one class.

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


def read(manifest: Mapping[str, Any]) -> dict[str, Standing]:
    """Return split -> standing, as a model's manifest holds them."""
    return {
        split: Standing(**values)
        for split, values in manifest.get("standing", {}).items()
    }


def deciding(standings: Mapping[str, Standing]) -> str:
    """Return the images that say whether a model has learned.

    The validation images if they are enough; else those of the training
    images that the folds' teachers had not seen; else the training images.

    Args:
        standings: By `validation`, `folds` and `train`; not empty.
    """
    held_out = standings.get("validation")
    if held_out and held_out.is_large_enough:
        return "validation"
    for split in ("folds", "train"):
        if split in standings:
            return split
    return "validation"


def describe(standing: Standing, class_name: str) -> str:
    """Say how a classifier does beside naming one class.

    Args:
        standing: Of the classifier.
        class_name: Of the most frequent class.
    """
    text = (
        f"{standing.accuracy:.1%} right; naming {class_name!r} for every one "
        f"has {standing.majority_rate:.1%} (p = {standing.accuracy_p:.2g}); "
        f"mean recall {standing.balanced_accuracy:.1%}, by chance "
        f"{1 / standing.num_classes:.1%} (p = "
        f"{standing.balanced_accuracy_p:.2g})"
    )
    if standing.num_named_classes < standing.num_classes:
        text += (
            f"; it names {standing.num_named_classes} of "
            f"{standing.num_classes} classes"
        )
    return text
