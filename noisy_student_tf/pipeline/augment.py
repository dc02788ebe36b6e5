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
        seed: int32 or int64 [2]. The same seed gives the same image; the next
            first numbers are used, too.
        test_crop: What `policy.crop` "none" cuts out.

    Returns:
        uint8 [resolution, resolution, 3] in [0, 255].
    """
    crop_seed, draw_seed, policy_seed = (
        seed + tf.constant([i, 0], seed.dtype) for i in range(3)
    )
    # One draw for all: a stateless operation costs as much as a small image.
    draws = tf.random.stateless_uniform([5], draw_seed)
    if policy.crop == "inception":
        image = _inception_crop(encoded, resolution, policy, crop_seed)
    elif policy.crop == "pad":
        image = clean_image(encoded, resolution, test_crop="whole")
    else:
        image = clean_image(encoded, resolution, test_crop=test_crop)
    if policy.horizontal_flip:
        image = random_flip(image, draws[0])
    image = apply_policy(image, policy, policy_seed)
    if policy.extra_cutout_pixels:
        image = operations.cutout(image, policy.extra_cutout_pixels, draws[1:3])
    if policy.crop == "pad":
        image = pad_crop(image, policy.pad_pixels, draws[3:])
    return tf.ensure_shape(image, [resolution, resolution, 3])


def noise_decoded(
    image: tf.Tensor, *, policy: config.PolicyConfig, seed: tf.Tensor
) -> tf.Tensor:
    """Flip a test image and apply the policy: uint8 [side, side, 3]."""
    flip_seed, policy_seed = tf.unstack(tf.random.split(seed, 2))
    if policy.horizontal_flip:
        draw = tf.random.stateless_uniform([], flip_seed)
        image = random_flip(image, draw)
    return apply_policy(image, policy, policy_seed)


def clean_image(
    encoded: tf.Tensor, resolution: int, *, test_crop: decode.TestCrop
) -> tf.Tensor:
    """Return the test image in bytes: uint8 [resolution, resolution, 3]."""
    image = decode.test_image(encoded, resolution, crop=test_crop)
    return decode.to_uint8(image)


def _inception_crop(
    encoded: tf.Tensor,
    resolution: int,
    policy: config.PolicyConfig,
    seed: tf.Tensor,
) -> tf.Tensor:
    image = decode.decode_box(
        encoded,
        lambda size: decode.random_box(size, resolution=resolution, seed=seed),
        min_side=resolution if policy.scaled_decoding else None,
    )
    return decode.to_uint8(decode.resize(image, resolution))


def random_flip(image: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    """Mirror half of the images.

    Args:
        image: uint8 [height, width, 3].
        draw: float32 [] in [0, 1).
    """
    return tf.cond(draw < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


def pad_crop(image: tf.Tensor, pad: int, draws: tf.Tensor) -> tf.Tensor:
    """Reflect `pad` pixels around an image and cut its size out anywhere.

    Args:
        image: uint8 [height, width, 3].
        pad: In pixels, less than the image's sides.
        draws: float32 [2] in [0, 1), of the row and column.
    """
    padded = tf.pad(image, [[pad, pad], [pad, pad], [0, 0]], "REFLECT")
    begin = tf.cast(draws * (2 * pad + 1), tf.int32)
    return tf.slice(padded, tf.concat([begin, [0]], 0), image.shape)


def apply_policy(
    image: tf.Tensor, policy: config.PolicyConfig, seed: tf.Tensor
) -> tf.Tensor:
    """Do what follows crop and flip.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        policy: Its `policy` and what belongs to it is read.
        seed: int32 or int64 [2].
    """
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
            is_clipped=policy.level_range == "clipped",
            corrects_contrast=policy.contrast == "corrected",
        )
    # Imported where it is used: it takes seconds, and few runs need it.
    from noisy_student_tf.pipeline import keras_cv_policy

    return keras_cv_policy.apply(
        image,
        num_ops=policy.num_ops,
        magnitude=policy.magnitude,
        seed=seed,
    )
