"""The noise of one training image: crop, flip and policy, in published order.

Crops of ImageNet's kind come before the policy. SVHN's, which pads and shifts
a small image, comes after it.
"""

import tensorflow as tf

from noisy_student_tf import config
from noisy_student_tf.pipeline import decode, operations, randaugment


def train_image(
    encoded: tf.Tensor,
    *,
    resolution: int,
    policy: config.PolicyConfig,
    seed: tf.Tensor,
    test_crop: decode.TestCrop = "center",
) -> tf.Tensor:
    """Decode a picture and noise it.

    Args:
        encoded: string [].
        resolution: Side of the result in pixels.
        policy: What is done to it.
        seed: int32 [2]. The same seed gives the same image.
        test_crop: What `policy.crop` "none" cuts out.

    Returns:
        uint8 [resolution, resolution, 3] in [0, 255].
    """
    crop_seed, flip_seed, policy_seed, cutout_seed = tf.unstack(
        tf.random.split(seed, 4)
    )
    if policy.crop == "inception":
        image = _inception_crop(encoded, resolution, crop_seed)
    elif policy.crop == "pad":
        image = clean_image(encoded, resolution, test_crop="whole")
    else:
        image = clean_image(encoded, resolution, test_crop=test_crop)
    if policy.horizontal_flip:
        image = random_flip(image, flip_seed)
    image = _apply_policy(image, policy, policy_seed)
    if policy.extra_cutout_pixels:
        image = random_cutout(image, policy.extra_cutout_pixels, cutout_seed)
    if policy.crop == "pad":
        image = pad_crop(image, policy.pad_pixels, crop_seed)
    return tf.ensure_shape(image, [resolution, resolution, 3])


def noise_decoded(
    image: tf.Tensor, *, policy: config.PolicyConfig, seed: tf.Tensor
) -> tf.Tensor:
    """Flip a test image and apply the policy: uint8 [side, side, 3]."""
    flip_seed, policy_seed = tf.unstack(tf.random.split(seed, 2))
    if policy.horizontal_flip:
        image = random_flip(image, flip_seed)
    return _apply_policy(image, policy, policy_seed)


def clean_image(
    encoded: tf.Tensor, resolution: int, *, test_crop: decode.TestCrop
) -> tf.Tensor:
    """Return the test image in bytes: uint8 [resolution, resolution, 3]."""
    image = decode.test_image(encoded, resolution, crop=test_crop)
    return decode.to_uint8(image)


def _inception_crop(
    encoded: tf.Tensor, resolution: int, seed: tf.Tensor
) -> tf.Tensor:
    image = decode.decode_box(
        encoded,
        lambda size: decode.random_box(size, resolution=resolution, seed=seed),
    )
    return decode.to_uint8(decode.resize(image, resolution))


def random_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirror half of the images: uint8 [height, width, 3] to the same."""
    return tf.cond(
        tf.random.stateless_uniform([], seed) < 0.5,
        lambda: tf.reverse(image, [1]),
        lambda: image,
    )


def random_cutout(image: tf.Tensor, pad: int, seed: tf.Tensor) -> tf.Tensor:
    """Cover a square of side 2 * pad, whose center lies anywhere."""
    center = tf.random.stateless_uniform([2], seed)
    return operations.cutout(image, pad, center)


def pad_crop(image: tf.Tensor, pad: int, seed: tf.Tensor) -> tf.Tensor:
    """Reflect `pad` pixels around an image and cut its size out anywhere."""
    padded = tf.pad(image, [[pad, pad], [pad, pad], [0, 0]], "REFLECT")
    begin = tf.random.stateless_uniform(
        [2], seed, maxval=2 * pad + 1, dtype=tf.int32
    )
    return tf.slice(padded, tf.concat([begin, [0]], 0), image.shape)


def _apply_policy(
    image: tf.Tensor, policy: config.PolicyConfig, seed: tf.Tensor
) -> tf.Tensor:
    if policy.policy == "none":
        return image
    if policy.policy == "randaugment":
        return randaugment.apply(
            image,
            num_ops=policy.num_ops,
            magnitude=policy.magnitude,
            translate_pixels=policy.translate_pixels,
            cutout_pixels=policy.cutout_pixels,
            seed=seed,
        )
    # Imported where it is used: it takes seconds, and few runs need it.
    from noisy_student_tf.pipeline import keras_cv_policy

    return keras_cv_policy.apply(
        image,
        num_ops=policy.num_ops,
        magnitude=policy.magnitude,
        seed=seed,
    )
