"""Mixup and CutMix: batches whose images and labels are blended in pairs.

Not part of the published method, and off by default. The partner of a row is
the one half a batch behind it, so that pairs do not depend on the number of
hosts that take an even part each; rows are in random order already. A row's
own image has the larger share.

References: mixup, arXiv 1710.09412; CutMix, arXiv 1905.04899.
"""

from collections.abc import Callable

import tensorflow as tf

from noisy_student_tf import configs

Batch = dict[str, tf.Tensor]


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
        draws = _draw(batch["position"], batch_size, seed, alphas)
        images, share = mix_images(batch[key], *draws)
        mixed = {**batch, key: images}
        if "soft_labels" in batch:
            mixed["soft_labels"] = mix_labels(batch["soft_labels"], share)
        if "labels" in batch:
            one_hot = tf.one_hot(batch["labels"], num_classes)
            mixed["label_probabilities"] = mix_labels(one_hot, share)
        return mixed

    return mix


def _draw(
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
