"""Wrong pseudo-labels? Those that a later student would not give again.

A student that learned from a label, among many others, and still answers
otherwise has been told so by the images that look like it.
"""

import numpy as np


def find(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the images whose label a later network contradicts.

    Args:
        probabilities: float [num_images, num_classes], the later network's.
        labels: int [num_images], pseudo-labels that were selected.

    Returns:
        int64 [num_found], rows; the greatest differences first, of the best
        class's probability and the label's.
    """
    gaps = doubts(probabilities, labels)
    (rows,) = np.nonzero(gaps > 0)
    return rows[np.argsort(-gaps[rows], kind="stable")]


def doubts(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return float [num_images], 0 where the label is the best class."""
    own = probabilities[np.arange(len(labels)), labels]
    return probabilities.max(axis=1, initial=0) - own
