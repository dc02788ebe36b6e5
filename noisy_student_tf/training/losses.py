"""The losses of labeled and of pseudo-labeled images, as pure functions.

Each returns one value per image: what is averaged over the global batch, and
by which weight, is decided where the batch's sizes are known.
"""

from typing import Literal

import tensorflow as tf


def labeled_cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, *, label_smoothing: float
) -> tf.Tensor:
    """Return the cross-entropy of images with true labels.

    Args:
        logits: float32 [num_images, num_classes].
        labels: int32 or int64 [num_images] in [0, num_classes), or float32
            [num_images, num_classes], rows sum to 1, where images are mixed.
        label_smoothing: Share of the label spread over all classes, in [0, 1).

    Returns:
        float32 [num_images], in nats.
    """
    targets = _smoothed(labels, logits.shape[-1], label_smoothing)
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def unlabeled_cross_entropy(
    logits: tf.Tensor,
    soft_labels: tf.Tensor,
    *,
    pseudo_labels: Literal["soft", "hard"],
    temperature: float,
    label_smoothing: float,
) -> tf.Tensor:
    """Return the cross-entropy of images with pseudo-labels.

    Args:
        logits: The student's, float32 [num_images, num_classes].
        soft_labels: The teacher's probabilities, float32 [num_images,
            num_classes], rows sum to 1.
        pseudo_labels: "soft" learns the probabilities, "hard" their argmax.
        temperature: Of soft labels, positive; see `sharpen`.
        label_smoothing: Of hard labels, in [0, 1). Soft ones are never
            smoothed, as in the authors' code.

    Returns:
        float32 [num_images], in nats.
    """
    if pseudo_labels == "hard":
        classes = tf.argmax(soft_labels, axis=-1)
        return labeled_cross_entropy(
            logits, classes, label_smoothing=label_smoothing
        )
    targets = sharpen(soft_labels, temperature)
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def sharpen(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return p^(1/T), renormalized: sharper below T = 1, flatter above.

    Args:
        probabilities: float32 [num_images, num_classes], rows sum to 1.
        temperature: T, positive.

    Returns:
        float32 [num_images, num_classes], rows sum to 1.
    """
    if temperature == 1.0:
        return probabilities
    powers = tf.pow(probabilities, 1.0 / temperature)
    return powers / tf.reduce_sum(powers, axis=-1, keepdims=True)


def weights_of_means(
    *,
    labeled_batch_size: float,
    unlabeled_batch_size: int,
    weighting: Literal["labeled", "all", "pseudo_labels"],
) -> tuple[float, float]:
    """Return the weights of the labeled and of the unlabeled mean loss.

    The published code adds the means as 1 : ratio, which is the mean over the
    whole batch times (1 + ratio); "all" is that mean itself.

    Args:
        labeled_batch_size: Labeled images of the global batch whose loss
            counts, on average.
        unlabeled_batch_size: Unlabeled images of the global batch, or 0.
        weighting: "labeled" for 1 : ratio, "all" for shares of the batch,
            "pseudo_labels" for 0 : 1 where there are unlabeled images.
    """
    if weighting == "pseudo_labels" and unlabeled_batch_size:
        return 0.0, 1.0
    ratio = unlabeled_batch_size / labeled_batch_size
    if weighting == "labeled":
        return 1.0, ratio
    return 1.0 / (1.0 + ratio), ratio / (1.0 + ratio)


def _smoothed(
    labels: tf.Tensor, num_classes: int, label_smoothing: float
) -> tf.Tensor:
    targets = tf.convert_to_tensor(labels)
    if targets.dtype.is_integer:
        targets = tf.one_hot(targets, num_classes)
    return targets * (1.0 - label_smoothing) + label_smoothing / num_classes
