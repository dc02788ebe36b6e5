import dataclasses
import math

import numpy as np
import pytest

from noisy_student_tf.evaluation.significance import chance


def repeat(*counts):
    """Return class 0 so many times, then class 1, and so on."""
    return np.repeat(np.arange(len(counts)), counts)


def test_correct_answers_are_tested_against_the_most_frequent_class():
    labels = repeat(5, 5)
    named = np.array([0] * 5 + [1] * 4 + [0])

    found = chance.standing(labels, named)

    assert (found.accuracy, found.majority_rate) == (0.9, 0.5)
    # 9 or 10 heads of 10.
    assert found.accuracy_p == pytest.approx(11 / 1024)
    assert found.is_above_chance


def test_one_class_for_everything_is_never_above_chance():
    for labels in (repeat(410, 190), repeat(190, 410), repeat(1, 200)):
        found = chance.standing(labels, np.ones_like(labels))
        assert found.balanced_accuracy == pytest.approx(0.5)
        assert found.balanced_accuracy_p == 1
        assert found.num_named_classes == 1
        assert not found.is_above_chance


def test_a_rare_class_that_is_found_counts_where_accuracy_cannot():
    labels = repeat(195, 5)
    named = labels.copy()
    named[[0, 1, 199]] = 1, 1, 0

    found = chance.standing(labels, named)

    assert found.accuracy_p > 0.05
    assert found.balanced_accuracy == pytest.approx((193 / 195 + 4 / 5) / 2)
    assert found.balanced_accuracy_p < 0.01
    assert found.is_above_chance


def test_permutation_agrees_with_counting_them_all():
    # Of the 6 ways to deal 2 ones and 2 zeros, one has all right.
    labels = repeat(2, 2)

    found = chance.standing(labels, labels)

    assert found.balanced_accuracy_p == pytest.approx(1 / 6, abs=0.03)
    assert not found.is_above_chance


def test_guessing_seldom_looks_like_learning():
    generator = np.random.default_rng(0)
    labels = repeat(20, 30)
    drawn = [
        chance.standing(labels, generator.integers(0, 2, 50)).is_above_chance
        for _ in range(100)
    ]

    # Two tests of 5 %, of which the first hardly ever fires.
    assert sum(drawn) <= 12


def test_classes_without_images_do_not_count():
    found = chance.standing(np.array([2, 2, 5, 5]), np.array([2, 2, 5, 7]))

    assert found.num_classes == 2
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.most_frequent_class == 2
    assert found.num_named_classes == 3


def test_a_standing_survives_the_manifest():
    found = chance.standing(repeat(3, 4), repeat(3, 4))

    manifest = {"standing": {"train": dataclasses.asdict(found)}}

    assert chance.read(manifest) == {"train": found}
    assert chance.read({}) == {}


@pytest.mark.parametrize(
    ("num_images", "others", "expected"),
    [
        (chance.MIN_IMAGES, ("folds", "train"), "validation"),
        (chance.MIN_IMAGES - 1, ("folds", "train"), "folds"),
        (chance.MIN_IMAGES - 1, ("train",), "train"),
        (2, (), "validation"),
        (0, ("train",), "train"),
    ],
)
def test_images_that_decide(num_images, others, expected):
    some = chance.standing(repeat(3, 4), repeat(3, 4))
    standings = dict.fromkeys(others, some)
    if num_images:
        standings["validation"] = dataclasses.replace(
            some, num_images=num_images
        )

    assert chance.deciding(standings) == expected


def test_enough_images_tell_three_of_four_from_one_of_two():
    needed = chance.MIN_IMAGES
    labels = repeat(needed // 2, needed // 2)
    named = labels.copy()
    wrong = math.floor(needed / 4)
    named[:wrong] = 1

    assert chance.standing(labels, named).accuracy_p < 0.05


def test_the_description_has_the_numbers_to_judge_by():
    text = chance.describe(
        chance.standing(repeat(2, 6), np.ones(8, np.int64)), "crack"
    )

    assert text == (
        "75.0% right; naming 'crack' for every one has 75.0% (p = 0.68); mean "
        "recall 50.0%, by chance 50.0% (p = 1); it names 1 of 2 classes"
    )
