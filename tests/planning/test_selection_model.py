import dataclasses

import numpy as np
import pytest

from noisy_student_tf import configs
from noisy_student_tf.planning import selection_model

HEAP = selection_model.Heap(
    num_images=1_000_000,
    num_classes=4,
    zipf_exponent=1.0,
    confidence_shape=(1.0, 1.0),  # Uniform on [0, 1].
)
SELECTION = configs.SelectionConfig(
    confidence_threshold=0.5, images_per_class=100_000
)


def test_expected_images_by_hand():
    # Shares 12, 6, 4, 3 of 25; half of the images are above 0.5.
    np.testing.assert_allclose(
        HEAP.expected_above(0.5), [240_000, 120_000, 80_000, 60_000]
    )


def test_selection_by_hand_within_its_draw():
    outcome = selection_model.simulate(HEAP, SELECTION, seed=0)
    assert outcome.num_above == pytest.approx(500_000, rel=0.01)
    # Two classes above the quota, two below it: 100 + 100 + 80 + 60 thousand.
    assert outcome.num_selected == pytest.approx(340_000, rel=0.01)
    assert outcome.num_rows == 400_000
    assert outcome.max_copies == 2
    assert outcome.num_short_classes == 2
    assert outcome.num_empty_classes == 0


def test_classes_without_images_are_counted_and_get_no_rows():
    rare = dataclasses.replace(HEAP, num_images=100, zipf_exponent=40.0)
    outcome = selection_model.simulate(rare, SELECTION, seed=0)
    assert outcome.num_empty_classes == 3
    assert outcome.num_rows == 100_000


def test_exponent_is_found_again():
    above = HEAP.expected_above(0.5)
    wanted = round(np.minimum(above, 100_000).sum())
    found = selection_model.fit_exponent(HEAP, SELECTION, num_selected=wanted)
    assert found == pytest.approx(1.0, abs=1e-4)


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="accepted is"):
        selection_model.fit_exponent(HEAP, SELECTION, num_selected=500_000)
