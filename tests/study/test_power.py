import math

import pytest

from study import power


@pytest.mark.parametrize(
    ("effect", "num_draws"),
    # Cohen (1988) and G*Power, matched pairs, two-sided 5 %, power 0.8.
    [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)],
)
def test_counts_are_those_of_the_published_tables(effect, num_draws):
    assert power.draws_needed(effect) == num_draws
    assert power.draws_needed(-effect) == num_draws
    assert power.power_of(effect, num_draws - 1) < 0.8


def test_no_effect_has_the_power_of_chance():
    assert power.power_of(0.0, 10) == pytest.approx(0.05)
    assert power.draws_needed(0.0) is None


def test_twenty_draws_show_two_thirds_of_a_deviation():
    # G*Power's sensitivity: 0.6604.
    assert power.smallest_visible(20) == pytest.approx(0.6604, abs=1e-3)


def test_a_direction_s_need_follows_from_its_own_draws():
    # Mean 2, deviation sqrt(2): an effect of 1.41 needs 7 draws.
    need = power.need_of([1.0, 3.0])
    assert need.mean == 2
    assert need.spread == pytest.approx(math.sqrt(2))
    assert need.num_draws == 7
    assert need.visible == pytest.approx(0.6604 * math.sqrt(2), abs=1e-2)
    assert not need.is_too_small


def test_a_mean_that_is_small_beside_its_spread_is_too_small_to_see():
    # Mean 0.25, deviation 1: an effect of 0.25 needs 128 draws.
    need = power.need_of([0.25 - math.sqrt(0.5), 0.25 + math.sqrt(0.5)])
    assert need.num_draws == 128
    assert need.is_too_small


def test_spreads_are_pooled_by_their_degrees_of_freedom():
    # Variances 2 (one degree) and 1 (two degrees): (2 + 2) / 3.
    assert power.pooled_spread([[0, 2], [0, 1, 2]]) == pytest.approx(
        math.sqrt(4 / 3)
    )


@pytest.mark.parametrize("differences", [[1.0], [2.0, 2.0]])
def test_no_spread_is_refused(differences):
    with pytest.raises(ValueError, match="no spread"):
        power.need_of(differences)
