"""The noise of training images: crop, flip and policy, in published order.

Crops of ImageNet's kind come before the policy. SVHN's, which pads and shifts
a small image, comes after it.

A picture is cut and resized by itself; what follows is done to many images at
once. All that is drawn follows from a seed and the images' positions.

Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) blend a batch's images
and labels in pairs. They are no part of the published method, and off by
default. The partner of a row is the one half a batch behind it, so that pairs
do not depend on the number of hosts that take an even part each; rows are in
random order already. A row's own image has the larger share.
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

Batch = dict[str, tf.Tensor]


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


def num_draws(policy: configs.PolicyConfig) -> int:
    """Return how many numbers are drawn for an image."""
    return _NUM_OWN_DRAWS + _DRAWS_PER_OPERATION * policy.num_ops


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
    count_each = num_draws(policy)
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(
        seed=tf.constant([seed, 0], tf.int64)
    )
    # Philox computes its n-th numbers without those before: each position has
    # a stretch of its own. One call for all is many times faster than one each.
    steps = first_position * (count_each // _DRAWS_PER_STEP)
    span = (count - 1) * stride + 1
    numbers = tf.raw_ops.StatelessRandomUniformV2(
        shape=[span, count_each],
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


def make_mixer(
    augmentation: configs.AugmentationConfig,
    *,
    num_classes: int,
    batch_size: int,
    seed: int,
) -> Callable[[Batch], Batch] | None:
    """Return a function that mixes the rows of one half of a batch.

    It reads and replaces the images and `soft_labels`; true `labels` get
    `label_probabilities` float32 [rows, num_classes] beside them. Clean twins
    stay clean.

    Args:
        augmentation: Which of the two, and how strongly.
        num_classes: The model's.
        batch_size: Rows of the global half batch.
        seed: Of the draws; each row's follow from it and its position.

    Returns:
        None where neither is on.
    """
    alphas = (augmentation.mixup_alpha, augmentation.cutmix_alpha)
    if not any(alphas):
        return None

    @tf.autograph.experimental.do_not_convert
    def mix(batch: Batch) -> Batch:
        key = (
            "labeled_images"
            if "labeled_images" in batch
            else "unlabeled_images"
        )
        draws = _draw_mixing(batch["position"], batch_size, seed, alphas)
        images, share = mix_images(batch[key], *draws)
        mixed = {**batch, key: images}
        if "soft_labels" in batch:
            mixed["soft_labels"] = mix_labels(batch["soft_labels"], share)
        if "labels" in batch:
            one_hot = tf.one_hot(batch["labels"], num_classes)
            mixed["label_probabilities"] = mix_labels(one_hot, share)
        return mixed

    return mix


def _draw_mixing(
    positions: tf.Tensor,
    batch_size: int,
    seed: int,
    alphas: tuple[float, float],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return share [rows], is_pasted [rows] and box center [rows, 2]."""
    # Drawn for the global batch, of which this host has every n-th row.
    step_seed = tf.stack(
        [tf.constant(seed, tf.int64) + 2, positions[0] // batch_size]
    )
    rows = tf.cast(positions % batch_size, tf.int32)
    uniform = tf.random.stateless_uniform([batch_size, 3], step_seed)
    uniform = tf.gather(uniform, rows)  # [rows, 3]
    odds = alphas[1] and (0.5 if alphas[0] else 1.0)
    is_pasted = uniform[:, 0] < odds
    shares = []
    for offset, alpha in enumerate(alphas):
        # The ratio of two gamma draws is a beta draw.
        gamma = tf.random.stateless_gamma(
            [batch_size, 2],
            step_seed + tf.constant([1 + offset, 0], tf.int64),
            max(alpha, 1e-3),
        )
        gamma = tf.gather(gamma, rows) + 1e-30
        share = gamma[:, 0] / tf.reduce_sum(gamma, 1)
        shares.append(tf.maximum(share, 1 - share))
    share = tf.where(is_pasted, shares[1], shares[0])
    return share, is_pasted, uniform[:, 1:]


def mix_images(
    images: tf.Tensor,
    share: tf.Tensor,
    is_pasted: tf.Tensor,
    center: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each image with its partner, or paste a box of the partner in.

    Args:
        images: uint8 [rows, height, width, 3] in [0, 255].
        share: float32 [rows] in [0.5, 1], of a row's own image.
        is_pasted: bool [rows], CutMix instead of mixup.
        center: float32 [rows, 2] in [0, 1), of the box.

    Returns:
        The images, and the share that a row's own image kept: boxes that
        reach over the border cover less.
    """
    num_rows, height, width = images.shape[:3]
    partners = _partners(images)
    blended = tf.cast(partners, tf.float32)
    wide_share = tf.reshape(share, [num_rows, 1, 1, 1])
    blended += wide_share * (tf.cast(images, tf.float32) - blended)
    blended = tf.cast(tf.round(blended), tf.uint8)
    side = tf.sqrt(1 - share)
    is_row = _is_within(height, center[:, 0], side)  # [rows, height]
    is_column = _is_within(width, center[:, 1], side)  # [rows, width]
    is_box = is_row[:, :, tf.newaxis] & is_column[:, tf.newaxis]
    pasted = tf.where(is_box[..., tf.newaxis], partners, images)
    covered = tf.reduce_mean(tf.cast(is_box, tf.float32), [1, 2])
    mixed = tf.where(
        tf.reshape(is_pasted, [num_rows, 1, 1, 1]), pasted, blended
    )
    return mixed, tf.where(is_pasted, 1 - covered, share)


def mix_labels(probabilities: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Blend labels as images were blended: float32 [rows, num_classes]."""
    share = share[:, tf.newaxis]
    return share * probabilities + (1 - share) * _partners(probabilities)


def _partners(values: tf.Tensor) -> tf.Tensor:
    return tf.roll(values, values.shape[0] // 2, axis=0)


def _is_within(size: int, center: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Tell which of `size` pixels lie in intervals: bool [rows, size]."""
    places = (tf.range(size, dtype=tf.float32) + 0.5)[tf.newaxis] / size
    return tf.abs(places - center[:, tf.newaxis]) < side[:, tf.newaxis] / 2
