"""The noise of training images: crop, flip and policy, in published order.

Crops of ImageNet's kind come before the policy. SVHN's, which pads and shifts
a small image, comes after it.

A picture is cut and resized by itself; what follows is done to many images at
once. All that is drawn follows from a seed and the images' positions.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.pipeline import decode
from noisy_student_tf.pipeline.augmentation import (
    kernels,
    operations,
    randaugment,
)

# Draws of an image: flip; cutout's row and column; pad crop's row and column.
# A multiple of what one step of the generator gives.
_NUM_OWN_DRAWS = 8
_DRAWS_PER_OPERATION = 4
_DRAWS_PER_STEP = 4


def crop_picture(
    encoded: tf.Tensor,
    *,
    resolution: int,
    policy: configs.PolicyConfig,
    seed: tf.Tensor,
    test_crop: decode.TestCrop = "center",
) -> tf.Tensor:
    """Decode a picture and cut a training image out.

    Args:
        encoded: string [].
        resolution: Side of the result in pixels.
        policy: Its crop is read.
        seed: int32 or int64 [2]. The same seed gives the same image.
        test_crop: What `policy.crop` "none" cuts out.

    Returns:
        uint8 [resolution, resolution, 3] in [0, 255].
    """
    if policy.crop == "inception":
        image = decode.decode_box(
            encoded,
            lambda size: decode.random_box(
                size, resolution=resolution, seed=seed
            ),
            min_side=resolution if policy.scaled_decoding else None,
        )
        return decode.resize_to_uint8(image, resolution)
    if policy.crop == "pad":
        test_crop = "whole"
    return clean_image(encoded, resolution, test_crop=test_crop)


def clean_image(
    encoded: tf.Tensor, resolution: int, *, test_crop: decode.TestCrop
) -> tf.Tensor:
    """Return the test image in bytes: uint8 [resolution, resolution, 3]."""
    image = decode.test_part(encoded, resolution, crop=test_crop)
    return decode.resize_to_uint8(image, resolution)


def draw(
    policy: configs.PolicyConfig,
    *,
    seed: int,
    first_position: tf.Tensor,
    count: int,
    stride: int = 1,
) -> tf.Tensor:
    """Draw all that is random in images after their crop.

    Args:
        policy: How much is drawn.
        seed: Of all images.
        first_position: int64 [], not negative. An image's draws follow from
            the seed and its position alone.
        count: Number of images.
        stride: From one image's position to the next one's.

    Returns:
        float32 [count, draws of an image] in [0, 1).
    """
    num_draws = _NUM_OWN_DRAWS + _DRAWS_PER_OPERATION * policy.num_ops
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(
        seed=tf.constant([seed, 0], tf.int64)
    )
    # Philox computes its n-th numbers without those before: each position has
    # a stretch of its own. One call for all is many times faster than one each.
    steps = first_position * (num_draws // _DRAWS_PER_STEP)
    span = (count - 1) * stride + 1
    numbers = tf.raw_ops.StatelessRandomUniformV2(
        shape=[span, num_draws],
        key=key,
        counter=counter + tf.stack([tf.cast(steps, tf.uint64), 0]),
        alg=tf.random.Algorithm.PHILOX.value,
    )
    return numbers[::stride]


def noise(
    images: tf.Tensor, policy: configs.PolicyConfig, draws: tf.Tensor
) -> tf.Tensor:
    """Do what follows the crop.

    Args:
        images: uint8 [batch, resolution, resolution, 3] in [0, 255], of
            static shape.
        policy: What is done to them.
        draws: float32 [batch, draws of an image], what `draw` returned.

    Returns:
        uint8 [batch, resolution, resolution, 3] in [0, 255].
    """
    if policy.horizontal_flip:
        images = random_flip(images, draws[:, 0])
    images = apply_policy(images, policy, draws)
    pad = policy.pad_pixels if policy.crop == "pad" else 0
    if not policy.extra_cutout_pixels and not pad:
        return images
    finish = _make_finish(policy.extra_cutout_pixels, pad)
    return finish(images, draws[:, 1:3], draws[:, 3:5])


def noise_test_images(
    images: tf.Tensor, policy: configs.PolicyConfig, seed: tf.Tensor
) -> tf.Tensor:
    """Flip test images and apply the policy.

    Args:
        images: uint8 [batch, side, side, 3] in [0, 255].
        policy: Its flip and policy are read.
        seed: int32 [2]. The same seed gives the same images.

    Returns:
        uint8 [batch, side, side, 3].
    """
    num_draws = _NUM_OWN_DRAWS + _DRAWS_PER_OPERATION * policy.num_ops
    draws = tf.random.stateless_uniform([tf.shape(images)[0], num_draws], seed)

    def noise_one(arguments: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, own = (part[tf.newaxis] for part in arguments)
        if policy.horizontal_flip:
            image = random_flip(image, own[:, 0])
        return apply_policy(image, policy, own)[0]

    return tf.map_fn(
        noise_one,
        (images, draws),
        fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8),
    )


def random_flip(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Mirror half of the images.

    Args:
        images: uint8 [batch, height, width, 3].
        draws: float32 [batch] in [0, 1).
    """
    if images.shape[0] == 1:
        return tf.cond(
            draws[0] < 0.5, lambda: tf.reverse(images, [2]), lambda: images
        )
    is_mirrored = tf.reshape(draws < 0.5, [-1, 1, 1, 1])
    return tf.where(is_mirrored, tf.reverse(images, [2]), images)


@functools.cache
def _make_finish(extra_cutout: int, pad: int) -> Callable[..., tf.Tensor]:
    """Return a compiled function that follows the policy."""

    def finish(
        image: tf.Tensor, center: tf.Tensor, corner: tf.Tensor
    ) -> tf.Tensor:
        if extra_cutout:
            image = operations.cutout(image, extra_cutout, center)
        return pad_crop(image, pad, corner) if pad else image

    @kernels.compiled
    def finish_all(
        images: tf.Tensor, centers: tf.Tensor, corners: tf.Tensor
    ) -> tf.Tensor:
        return randaugment.map_images(finish, images, centers, corners)

    return finish_all


def pad_crop(image: tf.Tensor, pad: int, draws: tf.Tensor) -> tf.Tensor:
    """Reflect `pad` pixels around an image and cut its size out anywhere.

    Args:
        image: uint8 [height, width, 3].
        pad: In pixels, less than the image's sides.
        draws: float32 [2] in [0, 1), of the row and column.
    """
    corner = tf.cast(draws * (2 * pad + 1), tf.int32)
    return kernels.reflected_window(image, corner, tf.constant(pad))


def apply_policy(
    images: tf.Tensor, policy: configs.PolicyConfig, draws: tf.Tensor
) -> tf.Tensor:
    """Do what follows crop and flip.

    Args:
        images: uint8 [batch, height, width, 3] in [0, 255].
        policy: Its `policy` and what belongs to it is read.
        draws: float32 [batch, draws of an image] in [0, 1).
    """
    if policy.policy == "none":
        return images
    draws = draws[:, _NUM_OWN_DRAWS:]
    if policy.policy == "randaugment":
        shape = [images.shape[0], policy.num_ops, _DRAWS_PER_OPERATION]
        return randaugment.apply(images, policy, tf.reshape(draws, shape))
    # Imported where it is used: it takes seconds, and few runs need it.
    from noisy_student_tf.pipeline.augmentation import keras_cv_policy

    def apply(image: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return keras_cv_policy.apply(
            image,
            num_ops=policy.num_ops,
            magnitude=policy.magnitude,
            seed=tf.bitcast(draws[:2], tf.int32),
        )

    return randaugment.map_images(apply, images, draws)
