import numpy as np
import tensorflow as tf

from noisy_student_tf.pseudo_labels import teacher


def left_half(images):
    """Class 0 as surely as the left half of the image is bright."""
    bright = tf.reduce_mean(images[:, :, :1], axis=[1, 2, 3]) / 255
    return tf.stack([bright, 1 - bright], axis=1)


def constant(*probabilities):
    return lambda images: tf.tile([probabilities], [tf.shape(images)[0], 1])


IMAGES = tf.constant([[[[255.0] * 3, [0.0] * 3]]])  # [1, 1, 2, 3]


def test_ensemble_is_the_mean_of_probabilities():
    found = teacher.average([constant(0.9, 0.1), constant(0.5, 0.5)])(IMAGES)
    np.testing.assert_allclose(found, [[0.7, 0.3]], rtol=1e-6)


def test_flip_averages_with_the_mirror_image():
    np.testing.assert_allclose(left_half(IMAGES), [[1, 0]])
    found = teacher.with_flip(left_half)(IMAGES)
    np.testing.assert_allclose(found, [[0.5, 0.5]])


def test_temperature_2_takes_square_roots():
    found = teacher.with_temperature(constant(0.8, 0.2), 2.0)(IMAGES)
    # sqrt(0.8) : sqrt(0.2) = 2 : 1.
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3]], rtol=1e-6)


def test_zero_probabilities_stay_finite_at_any_temperature():
    found = teacher.with_temperature(constant(1.0, 0.0), 3.0)(IMAGES)
    np.testing.assert_allclose(found, [[1, 0]], atol=1e-6)
