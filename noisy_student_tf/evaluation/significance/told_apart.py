"""Which models a measure of robustness tells apart, and how surely.

Of every image, or sequence, all models' outcomes are drawn together. Two models
are told apart where the 95 % interval of their difference leaves out zero (and,
under an attack, McNemar's test agrees). Fewer than 30 images tell nothing.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from noisy_student_tf.evaluation import metrics, robustness
from noisy_student_tf.evaluation.significance import paired
from noisy_student_tf.records import robustness_sets

Row = dict[str, Any]

# What a row holds of single images, until its intervals are known.
OUTCOMES = ("by_image", "by_sequence")
# Where the interval of a measure goes.
_INTERVALS = {
    robustness.CORRUPTIONS: "mce_interval_95",
    robustness.PERTURBATIONS: "relative_flips_interval_95",
}

# Sums over drawn images [num_resamples, num_models, num_columns], and the
# place of the model that normalizes, to [num_resamples, num_models].
_Reduce = Callable[[np.ndarray, int], np.ndarray]


def annotate(rows: Sequence[Row], baseline: str) -> list[Row]:
    """Return rows with their intervals, without what is known of each image.

    Args:
        rows: Of several models on the same sets, normalized. What was measured
            without outcomes of single images is returned as it is.
        baseline: Name of the model that normalizes.

    Returns:
        The rows, in their order. Of corruptions and sequences they have
        `mce_interval_95` and `relative_flips_interval_95`, of the percentage
        relative to the baseline, None where it is unknown; of all
        `not_told_from`, [model, resolution] of each model that is not told
        apart, and `num_compared` images or sequences.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, row in enumerate(rows):
        if any(name in row for name in OUTCOMES):
            kind = (row["measure"], row.get("epsilon_pixels"))
            groups.setdefault(kind, []).append(place)
    found = [
        {name: value for name, value in row.items() if name not in OUTCOMES}
        for row in rows
    ]
    for places in groups.values():
        group = [rows[place] for place in places]
        for place, added in zip(places, _compare(group, baseline), strict=True):
            found[place] |= added
    return found


def _compare(group: Sequence[Row], baseline: str) -> Iterator[Row]:
    """Yield what each row of one measure is given."""
    names = [[row["model"], row["resolution"]] for row in group]
    if baseline not in [name for name, _ in names]:
        # Measured by a version that kept no outcomes.
        yield from ({} for _ in group)
        return
    outcomes = _outcomes(group)
    values = None
    if outcomes.shape[1] >= metrics.MIN_IMAGES:
        base = [name for name, _ in names].index(baseline)
        values = _resample(outcomes, base, _reduction(group[0]["measure"]))
    for place, row in enumerate(group):
        added: Row = {
            "num_compared": outcomes.shape[1],
            "not_told_from": [
                name
                for other, name in enumerate(names)
                if other != place
                and not _is_told(outcomes, values, (place, other))
            ],
        }
        if row["measure"] in _INTERVALS:
            added[_INTERVALS[row["measure"]]] = (
                None if values is None else paired.interval(values[:, place])
            )
        yield added


def _outcomes(group: Sequence[Row]) -> np.ndarray:
    """Return float64 [num_models, num_images, num_columns].

    Images are joined by id. Sequences, of which our sets hold those of the
    same images in the same order under every perturbation, by place.

    Raises:
        ValueError: The models were shown different images.
    """
    if group[0]["measure"] == robustness.PERTURBATIONS:
        columns = [
            [row["by_sequence"][name] for name in robustness_sets.PERTURBATIONS]
            for row in group
        ]
        return np.array(columns, np.float64).transpose(0, 2, 1)
    ids = sorted(group[0]["by_image"])
    for row in group:
        if sorted(row["by_image"]) != ids:
            raise ValueError(
                f"{row['model']} was measured on {len(row['by_image'])} images "
                f"and {group[0]['model']} on {len(ids)}, not the same ones. "
                "Remove the folder robustness/ of the run, and measure again."
            )
    # A digit for each corruption, or whether the image stays right.
    return np.array(
        [
            [[*map(int, _columns(row["by_image"][each]))] for each in ids]
            for row in group
        ],
        np.float64,
    )


def _columns(outcome: str | bool) -> Sequence[Any]:
    return outcome if isinstance(outcome, str) else [outcome]


def _reduction(measure: str) -> _Reduce:
    """Return what makes a measure of sums."""
    if measure == robustness.CORRUPTIONS:
        return lambda sums, base: (
            100 * (sums / _nonzero(sums[:, [base]])).mean(axis=2)
        )
    if measure == robustness.PERTURBATIONS:
        return lambda sums, base: (
            100 * sums.sum(axis=2) / _nonzero(sums[:, [base]].sum(axis=2))
        )
    return lambda sums, base: sums[:, :, 0]


def _nonzero(sums: np.ndarray) -> np.ndarray:
    return np.where(sums, sums, np.nan)


def _resample(outcomes: np.ndarray, base: int, reduce: _Reduce) -> np.ndarray:
    """Return each resample's measures: float64 [num_resamples, num_models]."""
    num_models, num_images, num_columns = outcomes.shape
    flat = outcomes.transpose(1, 0, 2).reshape(num_images, -1)
    drawn = [
        reduce((counts @ flat).reshape(-1, num_models, num_columns), base)
        for counts in paired.resamples(num_images)
    ]
    return np.concatenate(drawn)


def _is_told(
    outcomes: np.ndarray, values: np.ndarray | None, pair: tuple[int, int]
) -> bool:
    """Tell whether two models differ."""
    if values is None:
        return False
    first, second = pair
    bounds = paired.interval(values[:, first] - values[:, second])
    if bounds is None or bounds[0] <= 0 <= bounds[1]:
        return False
    if outcomes.shape[2] > 1:
        return True
    right = outcomes[:, :, 0].astype(int)
    compared = paired.of_accuracy(
        np.ones_like(right[0]), right[first], right[second]
    )
    return compared["p_value"] < metrics.SIGNIFICANCE


@dataclasses.dataclass(frozen=True)
class Reach:
    """How far the intervals of a measure reach.

    Attributes:
        num_images: That were drawn.
        points: Half of the widest interval; None: there is none.
    """

    num_images: int
    points: float | None

    def needed(self, points: float) -> int | None:
        """Return about how many images give intervals that reach no further.

        Args:
            points: To either side.
        """
        if self.points is None:
            return None
        return max(
            metrics.MIN_IMAGES,
            round(self.num_images * (self.points / points) ** 2),
        )


def reach(rows: Sequence[Row]) -> Reach | None:
    """Return how far the intervals of rows of one measure reach.

    Args:
        rows: As `annotate` returned them.

    Returns:
        None where nothing is known of single images.
    """
    known = [row for row in rows if "num_compared" in row]
    if not known:
        return None
    bounds = [
        row[_INTERVALS[row["measure"]]]
        if row["measure"] in _INTERVALS
        else [100 * value for value in row["interval_95"]]
        for row in known
    ]
    halves = [(high - low) / 2 for low, high in filter(None, bounds)]
    is_enough = known[0]["num_compared"] >= metrics.MIN_IMAGES
    return Reach(
        known[0]["num_compared"],
        max(halves) if halves and is_enough else None,
    )
