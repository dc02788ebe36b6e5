"""How many draws a direction needs, from the spread of those that were made.

A direction is tested with the paired t-test of its draws, two-sided at 5 %.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence

from scipy import stats

SIGNIFICANCE = 0.05
POWER = 0.8
# What more than this would be needed for is too small to see here.
MOST_DRAWS = 20

_FEWEST_DRAWS = 2
# Beyond, nobody asks for the very number.
_LARGEST_COUNT = 100_000


@dataclasses.dataclass(frozen=True)
class Need:
    """What a direction needs to be decided.

    Attributes:
        mean: Of the differences, in points.
        spread: Their standard deviation over draws, in points.
        num_draws: With so many a difference as large as the mean is shown
            with a probability of `POWER`; None: more than are counted.
        visible: The smallest difference that `MOST_DRAWS` would so show, in
            points.
    """

    mean: float
    spread: float
    num_draws: int | None
    visible: float

    @property
    def is_too_small(self) -> bool:
        """Whether `MOST_DRAWS` are not enough."""
        return self.num_draws is None or self.num_draws > MOST_DRAWS


def need_of(differences: Sequence[float]) -> Need:
    """Return what a direction needs.

    Args:
        differences: Of each draw, paired; two or more, not all equal.

    Raises:
        ValueError: There is no spread to go by.
    """
    if len(differences) < _FEWEST_DRAWS or not statistics.stdev(differences):
        raise ValueError(
            f"The differences {list(differences)} have no spread; accepted are "
            "those of two draws or more that differ."
        )
    mean, spread = statistics.mean(differences), statistics.stdev(differences)
    return Need(
        mean=mean,
        spread=spread,
        num_draws=draws_needed(mean / spread),
        visible=spread * smallest_visible(MOST_DRAWS),
    )


def power_of(effect: float, num_draws: int) -> float:
    """Return how probable it is that draws show a difference.

    Args:
        effect: The true mean difference over its standard deviation.
        num_draws: Two or more.
    """
    freedom = num_draws - 1
    limit = float(stats.t.ppf(1 - SIGNIFICANCE / 2, freedom))
    shift = abs(effect) * math.sqrt(num_draws)
    # The other side of the noncentral t of a large shift is 0 or lost to
    # rounding.
    above = float(stats.nct.sf(limit, freedom, shift))
    below = float(stats.nct.cdf(-limit, freedom, shift))
    return above + (below if math.isfinite(below) else 0.0)


def draws_needed(effect: float) -> int | None:
    """Return the fewest draws with a power of `POWER`; None: very many.

    Args:
        effect: See `power_of`.
    """
    if power_of(effect, _LARGEST_COUNT) < POWER:
        return None
    low, high = _FEWEST_DRAWS - 1, _LARGEST_COUNT
    while high - low > 1:
        middle = (low + high) // 2
        if power_of(effect, middle) >= POWER:
            high = middle
        else:
            low = middle
    return high


def smallest_visible(num_draws: int) -> float:
    """Return the smallest effect that draws show with a power of `POWER`.

    Args:
        num_draws: Two or more.
    """
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        if power_of(middle, num_draws) >= POWER:
            high = middle
        else:
            low = middle
    return high


def pooled_spread(groups: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation that several directions have together.

    Two draws say little of a spread: with one degree of freedom the true one
    may be half of it, or thirty times as large. Together they say more, if
    their directions vary alike.

    Args:
        groups: The differences of each direction, two or more of each.
    """
    squares = sum((len(g) - 1) * statistics.variance(g) for g in groups)
    return math.sqrt(squares / sum(len(g) - 1 for g in groups))
