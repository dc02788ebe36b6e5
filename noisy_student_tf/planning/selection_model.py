"""Selection at full scale, from a model of the teacher's confidences.

Nobody outside has the paper's 300 M images. What its selection does to a heap
of that size follows from two assumptions, both stated in the output: classes
are as frequent as words (Zipf), and confidences have one distribution for all
classes (Kumaraswamy, which has a closed form).
"""

import dataclasses

import numpy as np
from scipy import optimize

from noisy_student_tf import configs
from noisy_student_tf.pseudo_labels import quotas

_EXPONENT_RANGE = (0.0, 3.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heap:
    """An unlabeled set as the teacher sees it.

    Attributes:
        num_images: Of all classes.
        num_classes: That the teacher knows.
        zipf_exponent: s; the k-th class has a share that falls as k**-s.
        confidence_shape: (a, b) of the confidences' distribution
            1 - (1 - x**a)**b on [0, 1].
    """

    num_images: int
    num_classes: int
    zipf_exponent: float
    confidence_shape: tuple[float, float] = (1.5, 1.0)

    def share_above(self, threshold: float) -> float:
        """Return the share of images at or above a confidence."""
        a, b = self.confidence_shape
        return float((1 - threshold**a) ** b)

    def expected_above(self, threshold: float) -> np.ndarray:
        """Return the expected images above it: float64 [num_classes]."""
        return (
            self.num_images * self.share_above(threshold) * self._class_shares()
        )

    def draw_above(
        self, threshold: float, generator: np.random.Generator
    ) -> np.ndarray:
        """Draw the images above a confidence: int64 [num_classes]."""
        per_class = generator.multinomial(self.num_images, self._class_shares())
        return generator.binomial(per_class, self.share_above(threshold))

    def _class_shares(self) -> np.ndarray:
        ranks = np.arange(1, self.num_classes + 1, dtype=np.float64)
        weights = ranks**-self.zipf_exponent
        return weights / weights.sum()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a selection keeps.

    Attributes:
        num_above: Images at or above the threshold.
        num_selected: Different images kept.
        num_rows: The same with copies.
        max_copies: Of one image.
        num_short_classes: Classes that need copies.
        num_empty_classes: Classes without an image.
    """

    num_above: int
    num_selected: int
    num_rows: int
    max_copies: int
    num_short_classes: int
    num_empty_classes: int


def simulate(
    heap: Heap, selection: configs.SelectionConfig, *, seed: int
) -> Outcome:
    """Draw a heap and divide the quotas as `pseudo_labels.select` does."""
    num_above = heap.draw_above(
        selection.confidence_threshold, np.random.default_rng(seed)
    )
    quota = quotas.images_per_class(
        selection, num_images=heap.num_images, num_classes=heap.num_classes
    )
    plan = quotas.allot(num_above, selection=selection, quota=quota)
    has_images = num_above > 0
    kept = np.where(plan.floor_copies > 0, num_above, plan.num_winners)
    copies = plan.floor_copies + (plan.num_winners > 0)
    return Outcome(
        num_above=int(num_above.sum()),
        num_selected=int(np.minimum(kept, num_above).sum()),
        num_rows=int(plan.num_rows(num_above)[has_images].sum()),
        max_copies=int(copies[has_images].max(initial=0)),
        num_short_classes=int((num_above < quota).sum()),
        num_empty_classes=int((~has_images).sum()),
    )


def fit_exponent(
    heap: Heap, selection: configs.SelectionConfig, *, num_selected: int
) -> float:
    """Return the exponent at which a heap leaves so many different images.

    The heap's own exponent does not matter.

    Raises:
        ValueError: No exponent in [0, 3] leaves so many.
    """
    quota = quotas.images_per_class(
        selection, num_images=heap.num_images, num_classes=heap.num_classes
    )

    def left(exponent: float) -> float:
        above = dataclasses.replace(
            heap, zipf_exponent=exponent
        ).expected_above(selection.confidence_threshold)
        return float(np.minimum(above, quota).sum())

    low, high = _EXPONENT_RANGE
    if not left(high) <= num_selected <= left(low):
        raise ValueError(
            f"num_selected={num_selected:,}: accepted is {left(high):,.0f} to "
            f"{left(low):,.0f} for this heap and quota."
        )
    return optimize.brentq(lambda s: left(s) - num_selected, low, high)
