import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from noisy_student_tf.evaluation import metrics


def logits_of(probabilities):
    return np.log(np.array(probabilities))


def test_values_worked_out_by_hand():
    logits = logits_of([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.4, 0.5, 0.1]])
    result = metrics.result(metrics.of_batch(logits, np.array([0, 0, 1])))
    assert result["num_images"] == 3
    assert result["accuracy"] == 2 / 3
    # Of three classes any ranking has all among its five best.
    assert result["top5_accuracy"] is None
    expected = -(math.log(0.7) + math.log(0.2) + math.log(0.5)) / 3
    assert result["loss"] == pytest.approx(expected, abs=1e-9)
    # Bin (0.667, 0.733]: 0.7 twice, one correct; bin (0.467, 0.533]: 0.5
    # once, correct. (|1 - 1.4| + |1 - 0.5|) / 3 = 0.3.
    assert result["calibration_error"] == pytest.approx(0.3, abs=1e-8)
    assert result["per_class_accuracy"] == [0.5, 1.0, None]


def test_sixth_place_is_not_in_the_top_5():
    logits = np.array([[6.0, 5, 4, 3, 2, 1]] * 2)
    result = metrics.result(metrics.of_batch(logits, np.array([4, 5])))
    assert result["top5_accuracy"] == 0.5


def test_equal_logits_rank_by_class():
    logits = np.zeros((2, 3))
    result = metrics.result(metrics.of_batch(logits, np.array([0, 1])))
    assert result["accuracy"] == 0.5
    assert result["per_class_accuracy"] == [1.0, 0.0, None]


def test_certain_logits_do_not_overflow():
    logits = np.array([[1e4, -1e4]])
    result = metrics.result(metrics.of_batch(logits, np.array([1])))
    assert result["loss"] == 2e4
    assert result["calibration_error"] == 1


def test_wilson_interval_is_the_published_one():
    # Newcombe (1998), Table I: 81 of 263 gives 0.2553 to 0.3662.
    low, high = metrics.wilson_interval(81, 263)
    assert low == pytest.approx(0.2553, abs=5e-5)
    assert high == pytest.approx(0.3662, abs=5e-5)
    assert metrics.wilson_interval(0, 10)[0] == 0
    assert metrics.wilson_interval(10, 10)[1] == pytest.approx(1)


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(
    seed=strategies.integers(0, 1000),
    cuts=strategies.lists(strategies.integers(0, 40), max_size=4),
)
def test_any_division_into_batches_gives_the_same_bits(seed, cuts):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(40, 7)).astype(np.float32)
    labels = generator.integers(0, 7, 40)
    whole = metrics.of_batch(logits, labels)
    order = generator.permutation(40)
    total = metrics.zeros(7)
    for part in np.split(order, sorted(cuts)):
        total = metrics.merge(
            total, metrics.of_batch(logits[part], labels[part])
        )
    assert metrics.result(total) == metrics.result(whole)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[np.nan, 0]], [0], "Logits are not finite"),
        ([[1.0, 0]], [2], r"accepted is \[0, 2\)"),
        ([[1.0, 0]], [-1], r"accepted is \[0, 2\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.of_batch(np.array(logits), np.array(labels))


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="no image to evaluate on"):
        metrics.result(metrics.zeros(2))


def test_restricted_logits_choose_among_some_classes():
    logits = np.array([[9.0, 1.0, 2.0], [9.0, 3.0, 1.0]])
    restricted, labels = metrics.restrict(logits, np.array([1, 1]), [1, 2])
    assert restricted.argmax(1).tolist() == [1, 0]
    assert labels.tolist() == [0, 0]


def repeat(*counts):
    """Return class 0 so many times, then class 1, and so on."""
    return np.repeat(np.arange(len(counts)), counts)


def test_correct_answers_are_tested_against_the_most_frequent_class():
    labels = repeat(5, 5)
    named = np.array([0] * 5 + [1] * 4 + [0])

    found = metrics.standing(labels, named)

    assert (found.accuracy, found.majority_rate) == (0.9, 0.5)
    # 9 or 10 heads of 10.
    assert found.accuracy_p == pytest.approx(11 / 1024)
    assert found.is_above_chance


def test_one_class_for_everything_is_never_above_chance():
    for labels in (repeat(410, 190), repeat(190, 410), repeat(1, 200)):
        found = metrics.standing(labels, np.ones_like(labels))
        assert found.balanced_accuracy == pytest.approx(0.5)
        assert found.balanced_accuracy_p == 1
        assert found.num_named_classes == 1
        assert not found.is_above_chance


def test_a_rare_class_that_is_found_counts_where_accuracy_cannot():
    labels = repeat(195, 5)
    named = labels.copy()
    named[[0, 1, 199]] = 1, 1, 0

    found = metrics.standing(labels, named)

    assert found.accuracy_p > 0.05
    assert found.balanced_accuracy == pytest.approx((193 / 195 + 4 / 5) / 2)
    assert found.balanced_accuracy_p < 0.01
    assert found.is_above_chance


def test_permutation_agrees_with_counting_them_all():
    # Of the 6 ways to deal 2 ones and 2 zeros, one has all right.
    labels = repeat(2, 2)

    found = metrics.standing(labels, labels)

    assert found.balanced_accuracy_p == pytest.approx(1 / 6, abs=0.03)
    assert not found.is_above_chance


def test_guessing_seldom_looks_like_learning():
    generator = np.random.default_rng(0)
    labels = repeat(20, 30)
    drawn = [
        metrics.standing(labels, generator.integers(0, 2, 50)).is_above_chance
        for _ in range(100)
    ]

    # Two tests of 5 %, of which the first hardly ever fires.
    assert sum(drawn) <= 12


def test_classes_without_images_do_not_count():
    found = metrics.standing(np.array([2, 2, 5, 5]), np.array([2, 2, 5, 7]))

    assert found.num_classes == 2
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.most_frequent_class == 2
    assert found.num_named_classes == 3


def test_enough_images_tell_three_of_four_from_one_of_two():
    needed = metrics.MIN_IMAGES
    labels = repeat(needed // 2, needed // 2)
    named = labels.copy()
    wrong = math.floor(needed / 4)
    named[:wrong] = 1

    assert metrics.standing(labels, named).accuracy_p < 0.05
