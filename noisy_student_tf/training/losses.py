"""The losses of labeled and of pseudo-labeled images, as pure functions.

Those of images return one value each; `of_batch` decides what is averaged over
the global batch, and by which weight.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from noisy_student_tf import configs

_LABELED_METRICS = ("loss", "labeled_loss", "labeled_accuracy")
_UNLABELED_METRICS = ("unlabeled_loss", "unlabeled_agreement")

ADVICE = (
    "Lower --optimizer.base_learning_rate, set --optimizer.global_clip_norm, "
    "or let the run go back by --training.max_rollbacks."
)


class NotFiniteError(FloatingPointError):
    """A loss or a weight is not finite.

    Attributes:
        step: The first step known to be spoilt, counted from 1.
        is_seen_by_all: Whether every worker of the run has noticed.
    """

    def __init__(self, message: str, *, step: int, is_seen_by_all: bool):
        """Describe it; see the attributes."""
        super().__init__(message)
        self.step = step
        self.is_seen_by_all = is_seen_by_all


def metric_names(unlabeled_batch_size: int) -> tuple[str, ...]:
    """Return the names of what `of_batch` returns, in order."""
    return _LABELED_METRICS + (
        _UNLABELED_METRICS if unlabeled_batch_size else ()
    )


def of_batch(
    config: configs.Config,
    batch: dict[str, tf.Tensor],
    logits: tf.Tensor,
    *,
    unlabeled_batch_size: int,
    is_kept: tf.Tensor | None,
    class_weights: Sequence[float] = (),
) -> dict[str, tf.Tensor]:
    """Return one replica's parts of the means over the global batch.

    Args:
        config: The losses, and the labeled images of the global batch.
        batch: See `step.compute_gradients`.
        logits: float32 [labeled + unlabeled, num_classes] of its images.
        unlabeled_batch_size: Unlabeled images of the global batch, or 0.
        is_kept: Whether a labeled image's loss counts, 0 or 1: float32
            [labeled]. None: all count.
        class_weights: Of labeled images, one a class; see `balanced_weights`.
            Empty: all are 1.

    Returns:
        Name -> float32 scalar: "loss", without the L2 loss, and its parts.
    """
    num_labeled = batch["labels"].shape[0]
    if class_weights:
        weights = weights_of_images(batch, class_weights)
        is_kept = weights if is_kept is None else weights * is_kept
    metrics = _labeled_metrics(config, batch, logits[:num_labeled], is_kept)
    of_means = weights_of_means(
        config.loss,
        labeled_batch_size=config.training.kept_labeled_batch_size,
        unlabeled_batch_size=unlabeled_batch_size,
    )
    metrics["loss"] = of_means[0] * metrics["labeled_loss"]
    if unlabeled_batch_size:
        logits, soft_labels = logits[num_labeled:], batch["soft_labels"]
        values = unlabeled(config.loss, logits, soft_labels)
        agrees = tf.argmax(logits, axis=-1) == tf.argmax(soft_labels, axis=-1)
        loss = _share_of_mean(values, unlabeled_batch_size)
        agreement = _share_of_mean(agrees, unlabeled_batch_size)
        metrics["loss"] += of_means[1] * loss
        metrics |= {"unlabeled_loss": loss, "unlabeled_agreement": agreement}
    return metrics


def balanced_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """Return weights that give each class the same sum, 1 on average.

    Args:
        counts: Labeled images of each class; one that has none weighs 0.
    """
    num_present = sum(count > 0 for count in counts)
    return tuple(
        sum(counts) / (num_present * count) if count else 0.0
        for count in counts
    )


def weights_of_images(
    batch: dict[str, tf.Tensor], class_weights: Sequence[float]
) -> tf.Tensor:
    """Return the weight of each labeled image, float32 [labeled].

    Args:
        batch: See `step.compute_gradients`; an image of blended labels has
            the blended weight.
        class_weights: One a class.
    """
    weights = tf.constant(class_weights, tf.float32)
    if "label_probabilities" in batch:
        return tf.linalg.matvec(batch["label_probabilities"], weights)
    return tf.gather(weights, batch["labels"])


def _labeled_metrics(
    config: configs.Config,
    batch: dict[str, tf.Tensor],
    logits: tf.Tensor,
    weights: tf.Tensor | None,
) -> dict[str, tf.Tensor]:
    labels = tf.cast(batch["labels"], tf.int64)
    values = labeled(
        config.loss, logits, batch.get("label_probabilities", labels)
    )
    if weights is not None:
        values *= weights
    batch_size = config.training.labeled_batch_size
    num_kept = config.training.kept_labeled_batch_size
    is_published = config.loss.labeled_mean == "batch"
    hits = tf.argmax(logits, axis=-1) == labels
    return {
        "labeled_loss": _share_of_mean(
            values, batch_size if is_published else num_kept
        ),
        "labeled_accuracy": _share_of_mean(hits, batch_size),
    }


def _share_of_mean(values: tf.Tensor, global_batch_size: float) -> tf.Tensor:
    # Divided by the global batch, not the replica's: the replicas' sum, of
    # losses as of gradients, is then the mean over all images.
    return tf.reduce_sum(tf.cast(values, tf.float32)) / global_batch_size


def labeled(
    settings: configs.LossConfig, logits: tf.Tensor, labels: tf.Tensor
) -> tf.Tensor:
    """Return the cross-entropy of images with true labels.

    Args:
        settings: How much of a label is spread over all classes.
        logits: float32 [num_images, num_classes].
        labels: int32 or int64 [num_images] in [0, num_classes), or float32
            [num_images, num_classes], rows sum to 1, where images are mixed.

    Returns:
        float32 [num_images], in nats.
    """
    num_classes = logits.shape[-1]
    targets = tf.convert_to_tensor(labels)
    if targets.dtype.is_integer:
        targets = tf.one_hot(targets, num_classes)
    smoothing = settings.label_smoothing
    targets = targets * (1.0 - smoothing) + smoothing / num_classes
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def unlabeled(
    settings: configs.LossConfig, logits: tf.Tensor, soft_labels: tf.Tensor
) -> tf.Tensor:
    """Return the cross-entropy of images with pseudo-labels.

    Args:
        settings: Whether the probabilities are learned, sharpened by the
            temperature, or their argmax, smoothed as true labels are. Soft
            ones are never smoothed, as in the authors' code.
        logits: The student's, float32 [num_images, num_classes].
        soft_labels: The teacher's probabilities, float32 [num_images,
            num_classes], rows sum to 1.

    Returns:
        float32 [num_images], in nats.
    """
    if settings.pseudo_labels == "hard":
        return labeled(settings, logits, tf.argmax(soft_labels, axis=-1))
    targets = sharpen(soft_labels, settings.temperature)
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
    settings: configs.LossConfig,
    *,
    labeled_batch_size: float,
    unlabeled_batch_size: int,
) -> tuple[float, float]:
    """Return the weights of the labeled and of the unlabeled mean loss.

    The published code adds the means as 1 : ratio, which is the mean over the
    whole batch times (1 + ratio); "all" is that mean itself.

    Args:
        settings: `weighting` is "labeled" for 1 : ratio, "all" for shares of
            the batch, "pseudo_labels" for 0 : 1 where there are unlabeled
            images.
        labeled_batch_size: Labeled images of the global batch whose loss
            counts, on average.
        unlabeled_batch_size: Unlabeled images of the global batch, or 0.
    """
    if settings.weighting == "pseudo_labels" and unlabeled_batch_size:
        return 0.0, 1.0
    ratio = unlabeled_batch_size / labeled_batch_size
    if settings.weighting == "labeled":
        return 1.0, ratio
    return 1.0 / (1.0 + ratio), ratio / (1.0 + ratio)


def l2_loss(variables: Sequence[keras.Variable]) -> tf.Tensor:
    """Return sum(v^2) / 2 over variables, a float32 scalar."""
    if not variables:
        return tf.constant(0.0)
    return tf.add_n([tf.nn.l2_loss(variable.value) for variable in variables])
