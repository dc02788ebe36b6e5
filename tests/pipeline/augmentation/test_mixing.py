import numpy as np
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.pipeline.augmentation import mixing

# Four constant images: 0, 100, 200 and 40.
IMAGES = np.broadcast_to(
    np.array([0, 100, 200, 40], np.uint8)[:, None, None, None], (4, 10, 20, 3)
)


def _mix(share, is_pasted, center=0.5):
    images, kept = mixing.mix_images(
        tf.constant(IMAGES),
        tf.constant([share] * 4, tf.float32),
        tf.constant([is_pasted] * 4),
        tf.fill([4, 2], center),
    )
    return images.numpy(), kept.numpy()


def test_mixup_blends_with_the_image_half_a_batch_away():
    images, share = _mix(0.75, False)
    # 0.75 * 0 + 0.25 * 200 = 50, 75 + 10 = 85, 150 + 0, 30 + 25 = 55.
    np.testing.assert_array_equal(images[:, 0, 0, 0], [50, 85, 150, 55])
    np.testing.assert_allclose(share, 0.75)


def test_cutmix_pastes_a_box_of_the_area_that_is_left():
    images, share = _mix(0.75, True)
    # A quarter of the area: half of each side, in the middle.
    is_box = np.zeros((10, 20), bool)
    is_box[3:7, 5:15] = True
    np.testing.assert_array_equal(images[0, ..., 0] == 200, is_box)
    np.testing.assert_allclose(share, 1 - is_box.mean(), rtol=1e-6)


def test_a_box_over_the_border_takes_less_of_the_label():
    images, share = _mix(0.75, True, center=0.0)
    covered = (images[0, ..., 0] == 200).mean()
    assert 0 < covered < 0.1
    np.testing.assert_allclose(share[0], 1 - covered, rtol=1e-6)


def test_labels_are_blended_by_the_share():
    labels = mixing.mix_labels(tf.eye(4), tf.constant([0.75] * 4))
    np.testing.assert_allclose(labels[1], [0, 0.75, 0, 0.25])


def _mixer(**alphas):
    return mixing.make_mixer(
        configs.AugmentationConfig(**alphas),
        num_classes=2,
        batch_size=4,
        seed=1,
    )


def _batch(positions):
    return {
        "labeled_images": tf.constant(IMAGES),
        "labels": tf.constant([0, 1, 1, 0]),
        "position": tf.constant(positions, tf.int64),
    }


def test_mixing_is_off_by_default():
    assert _mixer() is None


def test_draws_follow_from_the_position():
    mix = _mixer(mixup_alpha=0.5)
    first, again, other = (
        mix(_batch(range(begin, begin + 4)))["labeled_images"].numpy()
        for begin in (8, 8, 12)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
