"""Means over seeds, their intervals, and whether a direction is the paper's."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Literal

from scipy import stats

Verdict = Literal["agrees", "disagrees", "undecided", "open"]

_CONFIDENCE = 0.95
# A difference between two runs of one seed says little of others.
_FEWEST_SEEDS = 2


@dataclasses.dataclass(frozen=True)
class Summary:
    """A number over seeds.

    Attributes:
        mean: Over the seeds.
        low: Lower end of the 95 % t-interval of the mean; nan with one seed.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def summarize(values: Sequence[float]) -> Summary:
    """Return the mean over seeds and its 95 % t-interval.

    The interval is of what training anew would give on the same labels; it
    does not cover another choice of labeled images.

    Raises:
        ValueError: There is no value.
    """
    if not values:
        raise ValueError("There is no seed to average over.")
    mean = statistics.mean(values)
    count = len(values)
    if count < _FEWEST_SEEDS:
        return Summary(mean, math.nan, math.nan)
    quantile = float(stats.t.ppf((1 + _CONFIDENCE) / 2, count - 1))
    reach = quantile * statistics.stdev(values) / math.sqrt(count)
    return Summary(mean, mean - reach, mean + reach)


def judge(differences: Sequence[float]) -> Verdict:
    """Tell whether a direction was seen.

    Args:
        differences: Of each seed, positive where it is the paper's direction.

    Returns:
        `agrees` or `disagrees` where all seeds say so, `undecided` where they
        differ or a difference is 0, `open` with fewer than two seeds.
    """
    if len(differences) < _FEWEST_SEEDS:
        return "open"
    if all(difference > 0 for difference in differences):
        return "agrees"
    if all(difference < 0 for difference in differences):
        return "disagrees"
    return "undecided"
