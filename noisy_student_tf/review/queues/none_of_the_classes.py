"""None of the classes: images of high energy.

Liu et al., Energy-based Out-of-distribution Detection, NeurIPS 2020: the energy
-log sum exp(logits), at temperature 1, is higher for what the network was not
trained on, where the largest probability may be high all the same.
"""

import dataclasses

import numpy as np
from scipy import special

# The paper's: 95 % of images of the classes lie below.
IN_SHARE = 0.95


@dataclasses.dataclass(frozen=True)
class Found:
    """Images that may be none of the classes.

    Attributes:
        rows: int64 [num_found], the highest energies first.
        energies: float64 [num_found].
        shares_above: float64 [num_found], of the held-out images with as high
            an energy; not-a-number where there are none.
    """

    rows: np.ndarray
    energies: np.ndarray
    shares_above: np.ndarray


def energies(logits: np.ndarray) -> np.ndarray:
    """Return float64 [num_images] of logits float [num_images, num_classes]."""
    return -special.logsumexp(logits.astype(np.float64), axis=1)


def find(found: np.ndarray, held_out: np.ndarray) -> Found:
    """Return which images have more energy than held-out ones.

    Args:
        found: float64 [num_images], energies.
        held_out: float64 [num_held_out], energies of images of the classes;
            empty: all images are returned.
    """
    rows = np.argsort(-found, kind="stable")
    if not len(held_out):
        return Found(rows, found[rows], np.full(len(rows), np.nan))
    rows = rows[found[rows] > np.quantile(held_out, IN_SHARE)]
    num_below = np.searchsorted(np.sort(held_out), found[rows], side="left")
    return Found(rows, found[rows], 1 - num_below / len(held_out))
