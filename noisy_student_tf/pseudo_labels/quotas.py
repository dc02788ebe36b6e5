"""How many images and copies each class gets: a function of the counts."""

import dataclasses
import math

import numpy as np

from noisy_student_tf import configs


@dataclasses.dataclass(frozen=True)
class Allotment:
    """Copies of the images at or above the threshold, per class.

    Every image of a class gets `floor_copies`, and the first
    `num_winners` of them one more. Where `by_confidence` holds, the winners
    are the most confident images; elsewhere a draw by the hash of the id.

    Attributes:
        floor_copies: int64 [num_classes].
        num_winners: int64 [num_classes], below the number of images.
        by_confidence: bool [num_classes].
    """

    floor_copies: np.ndarray
    num_winners: np.ndarray
    by_confidence: np.ndarray

    def num_rows(self, num_above: np.ndarray) -> np.ndarray:
        """Return the rows of one epoch, copies counted: int64 [num_classes].

        Args:
            num_above: int64 [num_classes], what it was made for.
        """
        return self.floor_copies * num_above + self.num_winners


def images_per_class(
    selection: configs.SelectionConfig, *, num_images: int, num_classes: int
) -> int:
    """Return each class's quota."""
    if selection.images_per_class:
        return selection.images_per_class
    return math.ceil(num_images / num_classes)


def allot(
    num_above: np.ndarray, *, selection: configs.SelectionConfig, quota: int
) -> Allotment:
    """Divide the quota of each class among its images.

    Classes above the quota keep their most confident images. Classes below it
    get copies, as equally as whole numbers allow. (Paper, Section 3.1:
    "we duplicate some images at random".)

    Args:
        num_above: int64 [num_classes], images at or above the threshold.
        selection: Balancing, upsampling and the cap on copies.
        quota: Rows that each class is to have.
    """
    num_above = np.asarray(num_above, np.int64)
    if not selection.balance:
        return Allotment(
            np.ones_like(num_above),
            np.zeros_like(num_above),
            np.zeros(num_above.shape, bool),
        )
    is_over = num_above > quota
    if selection.upsample:
        divisor = np.maximum(num_above, 1)
        floor_copies, num_winners = np.divmod(np.int64(quota), divisor)
        if selection.max_copies:
            is_capped = floor_copies >= selection.max_copies
            floor_copies = np.minimum(floor_copies, selection.max_copies)
            num_winners = np.where(is_capped, 0, num_winners)
    else:
        floor_copies = np.ones_like(num_above)
        num_winners = np.zeros_like(num_above)
    return Allotment(
        np.where(is_over, 0, floor_copies),
        np.where(is_over, quota, num_winners),
        is_over,
    )
