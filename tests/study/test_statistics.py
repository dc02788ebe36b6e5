import math

import pytest

from study import statistics


def test_interval_is_students_t_over_the_seeds():
    summary = statistics.summarize([80.0, 82.0, 84.0])
    # Standard deviation 2, t of 2 degrees of freedom 4.3027.
    reach = 4.3027 * 2 / math.sqrt(3)
    assert summary.mean == 82
    assert summary.low == pytest.approx(82 - reach, abs=1e-3)
    assert summary.high == pytest.approx(82 + reach, abs=1e-3)


def test_one_seed_has_no_interval():
    summary = statistics.summarize([80.0])
    assert summary.mean == 80
    assert math.isnan(summary.low)
    assert math.isnan(summary.high)


def test_nothing_has_no_mean():
    with pytest.raises(ValueError, match="no seed"):
        statistics.summarize([])


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.1, 3.0, 0.2], "agrees"),
        ([-0.1, -3.0], "disagrees"),
        ([0.1, -3.0, 0.2], "undecided"),
        ([0.1, 0.0], "undecided"),
        ([5.0], "open"),
        ([], "open"),
    ],
)
def test_all_seeds_have_to_agree(differences, verdict):
    assert statistics.judge(differences) == verdict
