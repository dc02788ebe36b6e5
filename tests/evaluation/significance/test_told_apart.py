import numpy as np
import pytest

from noisy_student_tf.evaluation.significance import told_apart
from noisy_student_tf.records import robustness_sets

NUM_IMAGES = 100


def corrupted(model, digits):
    return {
        "model": model,
        "resolution": 24,
        "measure": "corruptions",
        "mce": 0.0,
        "by_image": {
            f"{number:032x}": each for number, each in enumerate(digits)
        },
    }


def attacked(model, right):
    return {
        "model": model,
        "resolution": 24,
        "measure": "fgsm",
        "epsilon_pixels": 4.0,
        "interval_95": [0.4, 0.6],
        "by_image": {
            f"{number:032x}": bool(each) for number, each in enumerate(right)
        },
    }


def of(model, rows):
    return next(row for row in rows if row["model"] == model)


def test_half_the_errors_on_the_same_images_are_told_without_doubt():
    """Paired: the ratio is one half in every resample."""
    hard = ["4" * 15 if i % 2 else "0" * 15 for i in range(NUM_IMAGES)]
    half = [each.replace("4", "2") for each in hard]
    rows = told_apart.annotate(
        [corrupted("teacher", hard), corrupted("student_1", half)], "teacher"
    )
    student = of("student_1", rows)
    assert student["mce_interval_95"] == pytest.approx([50, 50])
    assert student["not_told_from"] == []
    assert of("teacher", rows)["mce_interval_95"] == pytest.approx([100, 100])
    assert student["num_compared"] == NUM_IMAGES
    assert "by_image" not in student


def test_as_many_errors_on_other_images_are_not_told_apart():
    first = ["3" * 15 if i % 2 else "0" * 15 for i in range(NUM_IMAGES)]
    rows = told_apart.annotate(
        [corrupted("teacher", first), corrupted("student_1", first[::-1])],
        "teacher",
    )
    student = of("student_1", rows)
    low, high = student["mce_interval_95"]
    # The share of odd images has a deviation of 5 %: the ratio one of 20 %.
    assert 60 < low < 75 and 130 < high < 160
    assert student["not_told_from"] == [["teacher", 24]]


def test_images_are_joined_by_id():
    digits = [str(i % 6) * 15 for i in range(NUM_IMAGES)]
    first, second = corrupted("teacher", digits), corrupted("other", digits)
    second["by_image"] = dict(reversed(second["by_image"].items()))
    rows = told_apart.annotate([first, second], "teacher")
    assert of("other", rows)["mce_interval_95"] == pytest.approx([100, 100])
    second["by_image"].popitem()
    with pytest.raises(ValueError, match="on 99 images and teacher on 100"):
        told_apart.annotate([first, second], "teacher")


def test_few_images_tell_nothing():
    rows = told_apart.annotate(
        [
            corrupted("teacher", ["5" * 15] * 29),
            corrupted("student_1", ["0" * 15] * 29),
        ],
        "teacher",
    )
    assert of("student_1", rows)["mce_interval_95"] is None
    assert of("student_1", rows)["not_told_from"] == [["teacher", 24]]
    assert told_apart.reach(rows).needed(3.0) is None


def test_attacks_are_told_apart_where_mcnemar_agrees():
    right = np.arange(NUM_IMAGES) < 50
    # Five images that the other has wrong: p is 0.06, whatever is drawn.
    five, six = right.copy(), right.copy()
    five[50:55], six[50:56] = True, True
    rows = told_apart.annotate(
        [
            attacked("teacher", right),
            attacked("student_1", five),
            attacked("student_2", six),
        ],
        "teacher",
    )
    assert of("teacher", rows)["not_told_from"] == [["student_1", 24]]
    assert of("student_2", rows)["not_told_from"] == [["student_1", 24]]


def test_flips_are_relative_to_the_baseline_s_mean():
    def flipping(model, share):
        flips = [share if i % 2 else 0.0 for i in range(NUM_IMAGES)]
        return {
            "model": model,
            "resolution": 24,
            "measure": "perturbations",
            "by_sequence": dict.fromkeys(robustness_sets.PERTURBATIONS, flips),
        }

    rows = told_apart.annotate(
        [flipping("teacher", 0.2), flipping("student_1", 0.1)], "teacher"
    )
    student = of("student_1", rows)
    assert student["relative_flips_interval_95"] == pytest.approx([50, 50])
    assert "by_sequence" not in student


def test_rows_without_outcomes_stay_as_they_are():
    row = {"model": "teacher", "measure": "corruptions", "mce": 100.0}
    assert told_apart.annotate([row], "teacher") == [row]
    assert told_apart.reach([row]) is None


def test_a_half_as_wide_interval_takes_four_times_the_images():
    row = {
        "measure": "corruptions",
        "num_compared": 60,
        "mce_interval_95": [70.0, 82.0],
    }
    found = told_apart.reach([row])
    assert found.points == 6
    assert found.needed(3.0) == 240
