"""What a threshold on the probability of one class does: for two classes.

A person reads off it how many defects are found for how many false alarms. A
threshold that is chosen is chosen on other images than it is measured on.
"""

import dataclasses

import numpy as np
from sklearn import metrics as sklearn_metrics

# What a table of thresholds shows.
STEPS = tuple(step / 10 for step in range(1, 10))


@dataclasses.dataclass(frozen=True)
class Point:
    """What a threshold does.

    Attributes:
        threshold: Images whose probability reaches it are called positive.
        num_called: Images that are.
        precision: Share of positives among them; None if there are none.
        recall: Share of the positives that are called so.
        f1: Harmonic mean of both, 0 where nothing is right.
    """

    threshold: float
    num_called: int
    precision: float | None
    recall: float
    f1: float


def curve(
    is_positive: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return recalls, ascending, and the precisions of a threshold each.

    Args:
        is_positive: bool [num_images], of both kinds.
        probabilities: float [num_images] of the positive class.

    Returns:
        float64 [num_points] each, in [0, 1].
    """
    precisions, recalls, _ = sklearn_metrics.precision_recall_curve(
        is_positive, probabilities
    )
    return recalls[::-1], precisions[::-1]


def at(
    is_positive: np.ndarray, probabilities: np.ndarray, threshold: float
) -> Point:
    """Return what a threshold does.

    Args:
        is_positive: bool [num_images], at least one.
        probabilities: float [num_images] of the positive class.
        threshold: In [0, 1].
    """
    is_called = probabilities >= threshold
    num_called = int(is_called.sum())
    num_found = int((is_called & is_positive).sum())
    num_positive = int(is_positive.sum())
    return Point(
        threshold=threshold,
        num_called=num_called,
        precision=num_found / num_called if num_called else None,
        recall=num_found / num_positive,
        f1=2 * num_found / (num_called + num_positive),
    )


def best(is_positive: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the threshold of the greatest F1; of equally good ones the least.

    It lies in the middle between the last probability that reaches it and the
    next one below, so that it does not hang on one image.

    Args:
        is_positive: bool [num_images], of both kinds.
        probabilities: float [num_images] of the positive class.
    """
    precisions, recalls, reached = sklearn_metrics.precision_recall_curve(
        is_positive, probabilities
    )
    # The last point is that of no image called.
    sums = np.maximum(precisions + recalls, np.finfo(float).tiny)[:-1]
    scores = 2 * precisions[:-1] * recalls[:-1] / sums
    last = reached[int(scores.argmax())]
    below = probabilities[probabilities < last]
    return float((last + below.max(initial=0.0)) / 2)
