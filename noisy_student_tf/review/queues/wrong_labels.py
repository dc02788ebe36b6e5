"""Wrong labels? Confident learning on out-of-fold probabilities.

Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset
Labels, JAIR 70, 2021: an image counts as one of a class if its probability is
at least the mean of the images that are labeled so (Equation 2). What is
labeled otherwise lies off the diagonal of the confident joint.
"""

import dataclasses

import numpy as np

_NO_CLASS = -1


@dataclasses.dataclass(frozen=True)
class Doubted:
    """Labels that are likely wrong.

    Attributes:
        rows: int64 [num_found], of the images.
        classes: int64 [num_found], what they seem to be.
        is_confident: bool [num_found], whether the confident joint says so.
    """

    rows: np.ndarray
    classes: np.ndarray
    is_confident: np.ndarray


def likely_classes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return which class each image counts as, with confidence.

    Args:
        probabilities: float [num_images, num_classes], of models that have not
            seen the image.
        labels: int [num_images].

    Returns:
        int64 [num_images]; -1 where an image reaches no class's threshold. A
        class without labeled images has none.
    """
    num_classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    sums = np.bincount(labels, weights=own, minlength=num_classes)
    with np.errstate(invalid="ignore"):
        thresholds = np.where(counts, sums / counts, np.inf)
    # A mean may be rounded above the equal numbers that it is of.
    reached = probabilities >= thresholds - 1e-9
    likely = np.where(reached, probabilities, -np.inf).argmax(axis=1)
    return np.where(reached.any(axis=1), likely, _NO_CLASS)


def find(probabilities: np.ndarray, labels: np.ndarray) -> Doubted:
    """Return the images whose labels are likely wrong, the surest first.

    Behind those of the confident joint come those whose best class is another
    one all the same; each are ordered by the other class's probability less
    the label's.

    Args:
        probabilities: As of `likely_classes`.
        labels: int64 [num_images].
    """
    likely = likely_classes(probabilities, labels)
    is_confident = (likely != labels) & (likely != _NO_CLASS)
    others = np.where(is_confident, likely, probabilities.argmax(axis=1))
    (rows,) = np.nonzero(others != labels)
    gaps = probabilities[rows, others[rows]] - probabilities[rows, labels[rows]]
    rows = rows[np.lexsort((-gaps, ~is_confident[rows]))]
    return Doubted(rows, others[rows], is_confident[rows])
