import math

import pytest

from study import measures


def test_interval_is_students_t_over_the_seeds():
    mean, low, high = measures.summarize([80.0, 82.0, 84.0])
    # Standard deviation 2, t of 2 degrees of freedom 4.3027.
    reach = 4.3027 * 2 / math.sqrt(3)
    assert mean == 82
    assert low == pytest.approx(82 - reach, abs=1e-3)
    assert high == pytest.approx(82 + reach, abs=1e-3)


def test_one_seed_has_no_interval():
    mean, low, high = measures.summarize([80.0])
    assert mean == 80
    assert math.isnan(low)
    assert math.isnan(high)


def test_nothing_has_no_mean():
    with pytest.raises(ValueError, match="no seed"):
        measures.summarize([])


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
    assert measures.judge(differences) == verdict
