import pytest

from noisy_student_tf import texts

ROWS = [("name", "kind", "count"), ("a", "long one", "7"), ("bcdef", "x", "")]


def test_names_are_aligned_left_and_numbers_right():
    assert texts.align(ROWS).splitlines() == [
        "name       kind  count",
        "a      long one      7",
        "bcdef         x",
    ]


def test_more_columns_may_be_names_and_a_rule_is_as_wide_as_the_table():
    assert texts.align(ROWS, num_names=2, is_ruled=True).splitlines() == [
        "name   kind      count",
        "----------------------",
        "a      long one      7",
        "bcdef  x",
    ]


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        texts.align([("a", "b"), ("c",)])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 seconds"),
        (1.2, "1 second"),
        (119, "119 seconds"),
        (120, "2.0 minutes"),
        (7_199, "120.0 minutes"),
        (7_200, "2.0 hours"),
        (172_800, "2.0 days"),
    ],
)
def test_times_are_in_the_largest_unit_of_which_there_are_two(seconds, text):
    assert texts.duration(seconds) == text


def test_digits_of_quantities_can_be_chosen():
    assert texts.duration(9_000, 0) == "2 hours"
    assert texts.gigabytes(1_234_000_000, 2) == "1.23 GB"


def test_sizes_are_in_gigabytes_and_from_a_thousand_in_terabytes():
    assert texts.gigabytes(999.94e9) == "999.9 GB"
    assert texts.gigabytes(1.5e12) == "1.5 TB"
