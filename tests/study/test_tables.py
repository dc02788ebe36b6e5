import dataclasses

import pytest

from study import catalog, measures, run_records, studies, tables
from study.fashion_mnist import directions
from tests.study import fakes

MAIN = dataclasses.replace(catalog.study("main"), seeds=(0, 1, 2))


def measured(num_seeds):
    records = []
    for seed in range(num_seeds):
        records += fakes.main_records(
            seed,
            supervised=0.70 + 0.01 * seed,
            students=(0.68, 0.74, 0.75, 0.76 + 0.01 * seed),
        )
    return measures.Measurements(records, directions.BASELINE)


def line_of(table, beginning):
    return next(
        line for line in table.splitlines() if line.startswith(beginning)
    )


def test_models_show_every_seed_the_mean_and_its_interval():
    table = tables.of_study(MAIN, measured(3))
    line = line_of(table, "| Noisy Student, student 3")
    assert "1.50 M" in line
    assert "76.00 (75.2 to 76.8)" in line
    # Mean of 76, 77 and 78; deviation 1, t 4.303.
    assert "**77.00** (74.52 to 79.48)" in line


def test_missing_seeds_and_arms_are_named_as_open():
    table = tables.of_study(MAIN, measured(1))
    line = line_of(table, "| Noisy Student, student 3")
    assert line.count(tables.OPEN) == 2
    assert "76.00 (one seed)" in line
    noise = dataclasses.replace(catalog.study("noise"), seeds=(0, 1))
    nothing = tables.of_study(noise, measured(3))
    assert line_of(nothing, "| no RandAugment on").count(tables.OPEN) == 3


def test_a_mean_is_over_the_tables_own_seeds():
    """Else a model would stand beside one that was lucky elsewhere."""
    noise = dataclasses.replace(catalog.study("noise"), seeds=(0, 1))
    line = line_of(tables.of_study(noise, measured(3)), "| supervised")
    assert "seed" not in line
    assert "**70.50**" in line


def test_claims_count_points_in_the_papers_direction():
    table = tables.of_claims(MAIN.claims, measured(3))
    last = line_of(table, "| the last student beats")
    assert "+6.00, +6.00, +6.00" in last
    assert last.endswith("| agrees |")
    # 30 of 40 errors in 100: mCE 75, of which less is better.
    assert "+25.00" in line_of(table, "| the student's mCE")
    assert "+20.00" in line_of(table, "| the student's mFR")
    assert "+10.00" in line_of(table, "| the student is better under FGSM")


def test_verdicts_are_counted_and_the_others_named():
    text = tables.count_verdicts([MAIN], measured(1))
    assert "Of 7 directions, 0 agree" in text
    assert "open: the last student beats" in text
    text = tables.count_verdicts([MAIN], measured(3))
    assert text.startswith("Of 7 directions, 7 agree")


def test_undecided_directions_say_how_many_draws_they_need():
    """Third students 1 and 3 points below the first ones: mean -2."""
    records = []
    for seed, last in enumerate((0.75, 0.73)):
        students = (0.68, 0.74, 0.75, last)
        records += fakes.main_records(seed, supervised=0.70, students=students)
    found = measures.Measurements(records, directions.BASELINE)
    claims = tuple(c for c in MAIN.claims if c.text.startswith("iterating"))
    study = dataclasses.replace(MAIN, claims=claims)
    assert found.differences(claims[0]) == pytest.approx([1.0, -1.0])
    line = line_of(tables.of_undecided([study], found), "| iterating")
    # A mean of 0 needs more draws than are counted; 0.6604 deviations of 1.41.
    assert (
        "| 2 | +0.00 | 1.41 | more than 20 | 0.93 or more | too small" in line
    )
    text = tables.of_undecided([study], found)
    assert text.endswith("20 draws would show 0.93 points or more.")


def test_where_all_is_decided_no_direction_needs_draws():
    text = tables.of_undecided([MAIN], measured(3))
    assert len(text.splitlines()) == 2


def test_mfr_says_which_perturbations_the_baseline_withstands():
    flips = dict.fromkeys(fakes.PERTURBATIONS, 0.1)
    records = fakes.main_records(0, supervised=0.7, students=[0.7] * 4)
    row = run_records.rows_of(records[0], "teacher")[2]
    row["flip_probabilities"] = flips | {"tilt": 0.0}
    found = measures.Measurements(records, directions.BASELINE)
    percent, left_out = found.mfr(
        studies.Model("noisy_student", "student_3"), 0
    )
    assert percent == pytest.approx(80)
    assert left_out == ["tilt"]
    table = tables.of_robustness(MAIN, found)
    assert table.endswith("whose baseline never flips there: tilt.")
    # 0.08 over nine tenths of 0.1: nothing is left out of the ratio of means.
    line = line_of(table, "| Noisy Student, student 3")
    assert "| 88.89 (one seed) | 80.00 (one seed) |" in line


def test_tables_are_put_in_their_place():
    document = "a\n<!-- table: x -->\nold\n<!-- end of table -->\nb\n"
    new = tables.insert(document, "x", "| new |")
    assert new == (
        "a\n<!-- table: x -->\n\n| new |\n\n<!-- end of table -->\nb\n"
    )
    assert tables.insert(new, "x", "| new |") == new
    with pytest.raises(ValueError, match="no place for the table 'y'"):
        tables.insert(document, "y", "")
