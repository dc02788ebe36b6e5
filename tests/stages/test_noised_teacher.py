import numpy as np
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.stages import noised_teacher
from tests.training import tiny


def test_noised_labels_repeat_and_differ_from_clean_ones():
    model = tiny.build(dropout_rate=0.5)
    images = tf.random.stateless_uniform([3, tiny.SIDE, tiny.SIDE, 3], [1, 2])
    images *= 255.0
    statistics = tiny.weights_of(model.stem_norm)
    clean = tf.nn.softmax(model(images, training=False))
    policy = configs.PolicyConfig(
        policy="randaugment", magnitude=5.0, translate_pixels=2.0
    )
    label = noised_teacher.predict_fn(model, policy, seed=3)
    first = label(images)
    np.testing.assert_allclose(tf.reduce_sum(first, axis=1), 1.0, rtol=1e-5)
    assert not np.allclose(first, clean)
    np.testing.assert_array_equal(first, label(images))
    other = noised_teacher.predict_fn(model, policy, seed=4)(images)
    assert not np.allclose(first, other)
    # Labeling leaves the teacher as it was.
    for a, b in zip(statistics, tiny.weights_of(model.stem_norm), strict=True):
        np.testing.assert_array_equal(a, b)


def test_test_images_are_noised_by_their_seed():
    policy = configs.PolicyConfig(
        crop="none", policy="randaugment", horizontal_flip=True, num_ops=1
    )
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    noise = tf.function(noised_teacher.noise_test_images, autograph=False)
    images = tf.constant(np.stack([image] * 8))
    first = noise(images, policy, tf.constant([3, 4]))
    np.testing.assert_array_equal(
        first, noise(images, policy, tf.constant([3, 4]))
    )
    assert len({image.tobytes() for image in first.numpy()}) > 3
