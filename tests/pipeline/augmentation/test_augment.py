import dataclasses

import numpy as np
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.pipeline import decode
from noisy_student_tf.pipeline.augmentation import augment

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
ENCODED = tf.io.encode_png(IMAGE)
QUIET = configs.PolicyConfig(crop="none", horizontal_flip=False, policy="none")


def _images(policy, num_images, resolution=16, test_crop="whole", seed=1):
    """Images of the first positions."""
    make = tf.function(
        lambda position: augment.crop_picture(
            ENCODED,
            resolution=resolution,
            policy=policy,
            seed=tf.stack([tf.constant(seed, tf.int64), position]),
            test_crop=test_crop,
        ),
        input_signature=[tf.TensorSpec([], tf.int64)],
        autograph=False,
    )
    images = tf.stack([make(i) for i in range(num_images)])
    draws = _draw(policy, num_images, seed=seed)
    return list(augment.noise(images, policy, draws).numpy())


def _draw(policy, count, *, first=0, seed=1, **options):
    return augment.draw(
        policy,
        seed=seed,
        first_position=tf.constant(first, tf.int64),
        count=count,
        **options,
    )


def _count(images, expected):
    return sum(np.array_equal(image, expected) for image in images)


def test_without_noise_it_is_the_test_image():
    np.testing.assert_array_equal(_images(QUIET, 1)[0], IMAGE)


def test_without_noise_the_test_crop_is_the_models():
    image = _images(QUIET, 1, resolution=8, test_crop="center")[0]
    expected = decode.to_uint8(decode.test_image(ENCODED, 8, crop="center"))
    np.testing.assert_array_equal(image, expected)


def test_half_of_the_images_are_mirrored():
    policy = dataclasses.replace(QUIET, horizontal_flip=True)
    images = _images(policy, 100)
    num_mirrored = _count(images, IMAGE[:, ::-1])
    assert num_mirrored + _count(images, IMAGE) == 100
    assert 25 <= num_mirrored <= 75


def test_a_pad_crop_is_a_window_of_the_reflected_image():
    policy = dataclasses.replace(QUIET, crop="pad", pad_pixels=2)
    padded = np.pad(IMAGE, [(2, 2), (2, 2), (0, 0)], "reflect")
    windows = {
        padded[row : row + 16, column : column + 16].tobytes()
        for row in range(5)
        for column in range(5)
    }
    drawn = {image.tobytes() for image in _images(policy, 200)}
    # All 25 are missed with a chance below 1 %.
    assert drawn == windows


def test_a_pad_crop_resizes_pictures_of_another_size():
    policy = dataclasses.replace(QUIET, crop="pad", pad_pixels=0)
    image = _images(policy, 1, resolution=8)[0]
    expected = decode.to_uint8(decode.test_image(ENCODED, 8, crop="whole"))
    np.testing.assert_array_equal(image, expected)


def test_the_extra_cutout_covers_a_square():
    policy = dataclasses.replace(QUIET, extra_cutout_pixels=3)
    images = _images(policy, 30)
    sizes = []
    for image in images:
        differs = (image != IMAGE).any(-1)
        assert (image[differs] == 128).all()
        rows, columns = np.nonzero(differs)
        sizes.append((np.ptp(rows) + 1, np.ptp(columns) + 1))
    # Centers anywhere: whole squares, and such that the border cuts.
    assert max(sizes) == (6, 6)
    assert min(sizes) < (6, 6)


def test_the_pad_crop_comes_after_policy_and_cutout():
    # The square cut at the border is reflected: it can be wider than 2 * 8.
    policy = dataclasses.replace(
        QUIET, crop="pad", pad_pixels=6, extra_cutout_pixels=1
    )
    num_gray = [
        int((image == 128).all(-1).sum()) for image in _images(policy, 60)
    ]
    assert max(num_gray) > 4


def test_the_inception_crop_gives_images_of_the_resolution():
    policy = dataclasses.replace(QUIET, crop="inception")
    images = _images(policy, 20, resolution=12)
    assert {image.shape for image in images} == {(12, 12, 3)}
    assert len({image.tobytes() for image in images}) == 20


def test_draws_follow_from_seed_and_position_alone():
    policy = dataclasses.replace(QUIET, policy="randaugment", num_ops=2)
    draws = _draw(policy, 50)
    assert draws.shape == (50, 16)
    assert len(np.unique(draws)) > 790
    np.testing.assert_array_equal(_draw(policy, 20, first=30), draws[30:])
    np.testing.assert_array_equal(
        _draw(policy, 16, first=2, stride=3), draws[2::3]
    )
    assert not np.isin(_draw(policy, 50, seed=2), draws).any()


def test_draws_of_far_positions_are_as_even_as_of_the_first():
    policy = dataclasses.replace(QUIET, num_ops=0)
    draws = _draw(policy, 1000, first=10**9).numpy()
    # 1 / 12 of variance: five deviations of the mean of 8000.
    assert abs(draws.mean() - 0.5) < 5 * (1 / 12 / 8000) ** 0.5
    assert len(np.unique(draws)) > 7990


def test_noised_images_follow_from_the_draws():
    policy = dataclasses.replace(
        QUIET, policy="randaugment", magnitude=9.0, num_ops=2
    )
    first = _images(policy, 12)
    np.testing.assert_array_equal(first, _images(policy, 12))
    assert len({image.tobytes() for image in first}) > 6


def test_keras_cv_draws_from_the_seed_alone():
    policy = dataclasses.replace(
        QUIET, policy="keras_cv", magnitude=9.0, num_ops=2
    )
    make = tf.function(
        lambda: augment.noise(
            tf.constant(np.stack([IMAGE] * 24)), policy, _draw(policy, 24)
        ),
        autograph=False,
    )
    first = make().numpy()
    np.testing.assert_array_equal(first, make())
    assert len({image.tobytes() for image in first}) > 12


# Four constant images: 0, 100, 200 and 40.
CONSTANT_IMAGES = np.broadcast_to(
    np.array([0, 100, 200, 40], np.uint8)[:, None, None, None], (4, 10, 20, 3)
)


def _mix(share, is_pasted, center=0.5):
    images, kept = augment.mix_images(
        tf.constant(CONSTANT_IMAGES),
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
    labels = augment.mix_labels(tf.eye(4), tf.constant([0.75] * 4))
    np.testing.assert_allclose(labels[1], [0, 0.75, 0, 0.25])


def _mixer(**alphas):
    return augment.make_mixer(
        configs.AugmentationConfig(**alphas),
        num_classes=2,
        batch_size=4,
        seed=1,
    )


def _batch(positions):
    return {
        "labeled_images": tf.constant(CONSTANT_IMAGES),
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
