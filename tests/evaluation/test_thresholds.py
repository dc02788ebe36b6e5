import numpy as np
import pytest

from noisy_student_tf.evaluation import thresholds

# By falling probability: bad, good, bad, good.
IS_BAD = np.array([True, False, True, False])
PROBABILITIES = np.array([0.9, 0.7, 0.5, 0.1])


def test_a_threshold_calls_what_reaches_it():
    assert thresholds.at(IS_BAD, PROBABILITIES, 0.5) == thresholds.Point(
        0.5, 3, 2 / 3, 1.0, pytest.approx(0.8)
    )
    assert thresholds.at(IS_BAD, PROBABILITIES, 0.8) == thresholds.Point(
        0.8, 1, 1.0, 0.5, pytest.approx(2 / 3)
    )


def test_where_nothing_is_called_there_is_no_precision():
    assert thresholds.at(IS_BAD, PROBABILITIES, 0.95) == thresholds.Point(
        0.95, 0, None, 0.0, 0.0
    )


def test_the_best_threshold_lies_between_images():
    """At 0.5 two of three are right: F1 is 0.8, elsewhere less."""
    assert thresholds.best(IS_BAD, PROBABILITIES) == pytest.approx(0.3)
    assert thresholds.best(~IS_BAD, 1 - PROBABILITIES) == pytest.approx(0.2)


def test_all_may_be_called():
    is_bad = np.array([False, True])
    assert thresholds.best(is_bad, np.array([0.9, 0.4])) == pytest.approx(0.2)


def test_where_nothing_is_right_no_f1_fails():
    scores = thresholds.best(np.array([True, False]), np.array([0.0, 1.0]))
    assert scores == 0.0


def test_a_curve_begins_without_images_and_ends_with_all():
    recalls, precisions = thresholds.curve(IS_BAD, PROBABILITIES)
    assert recalls.tolist() == [0, 0.5, 0.5, 1, 1]
    assert precisions.tolist() == pytest.approx([1, 1, 1 / 2, 2 / 3, 1 / 2])
