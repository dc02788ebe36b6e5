import numpy as np

from noisy_student_tf.review.queues import none_of_the_classes


def test_energy_of_logits():
    energies = none_of_the_classes.energies(
        np.array([[0, 0], [10, 0], [-3, -3]], np.float32)
    )
    # Of n equal logits: -(logit + log n).
    expected = [-np.log(2), -10 - np.log1p(np.exp(-10)), 3 - np.log(2)]
    np.testing.assert_allclose(energies, expected)


def test_above_nearly_all_held_out_ones():
    held_out = np.arange(100.0)
    found = none_of_the_classes.find(np.array([96.5, 200, 5, 98]), held_out)
    assert found.rows.tolist() == [1, 3, 0]
    assert found.energies.tolist() == [200, 98, 96.5]
    np.testing.assert_allclose(found.shares_above, [0, 0.02, 0.03])


def test_without_held_out_images_all_are_ordered():
    found = none_of_the_classes.find(np.array([1.0, 3, 2]), np.zeros(0))
    assert found.rows.tolist() == [1, 2, 0]
    assert np.isnan(found.shares_above).all()
