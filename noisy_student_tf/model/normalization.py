"""Batch normalization, over one replica or over groups of them."""

from typing import Any

import keras
import tensorflow as tf

# EfficientNet's, of TensorFlow 1's default layers.
BATCH_NORM_EPSILON = 1e-3

_PACKAGE = "noisy_student_tf"
# The published code's: groups of an eighth of the replicas, at least 8.
_PUBLISHED_GROUPS = 8
_PUBLISHED_LEAST_SIZE = 8


@keras.saving.register_keras_serializable(_PACKAGE)
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization over [batch, height, width, channels].

    Differs from its parent in four points. It runs TensorFlow's fused
    kernels, which are several times faster. The moving variance averages the
    unbiased variance (divided by n - 1), as TensorFlow 1's fused layer, which
    the published code used outside of TPUs, does. `synchronized` also works
    where statistics are read and written by the fused path on one replica,
    and may be over groups of replicas: each group normalizes by its own
    moments, and the moving statistics average those of all groups, so that
    every replica holds the same.

    Statistics are float32 whatever the inputs are. A layer that is not
    trainable, or is frozen, uses its moving statistics and leaves them alone;
    scale and shift of a frozen one still train.
    """

    def __init__(
        self, *, group_size: int = 0, frozen: bool = False, **kwargs: Any
    ) -> None:
        """Make the layer.

        Args:
            group_size: Replicas that share their moments, if synchronized;
                see `replicas_per_group`.
            frozen: Normalize by the moving statistics, always.
            **kwargs: Those of keras.layers.BatchNormalization.
        """
        defaults = {"autocast": False, "epsilon": BATCH_NORM_EPSILON}
        super().__init__(**{**defaults, **kwargs})
        self.group_size = group_size
        self.frozen = frozen

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = {"group_size": self.group_size, "frozen": self.frozen}
        return {**super().get_config(), **config}

    def call(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Normalize `inputs`: float [batch, height, width, channels]."""
        if mask is not None:
            raise ValueError(
                f"{self.path}: masks are not supported. Received mask={mask}."
            )
        if self.frozen or not (training and self.trainable):
            return self._fused(inputs, is_training=False).y
        replicas = tf.distribute.get_replica_context()
        if self.synchronized and replicas and replicas.num_replicas_in_sync > 1:
            return self._normalize_by_groups(inputs, replicas)
        return self._normalize_by_local_batch(inputs)

    def _normalize_by_local_batch(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = self._fused(
            inputs,
            is_training=True,
            exponential_avg_factor=1.0 - self.momentum,
        )
        # With an averaging factor these two are the updated averages.
        self.moving_mean.assign(outputs.batch_mean)
        self.moving_variance.assign(outputs.batch_variance)
        return outputs.y

    def _fused(self, inputs: tf.Tensor, **options: Any) -> Any:
        return tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=self.moving_mean,
            variance=self.moving_variance,
            epsilon=self.epsilon,
            **options,
        )

    def _normalize_by_groups(
        self, inputs: tf.Tensor, replicas: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        num_replicas = replicas.num_replicas_in_sync
        group_size = replicas_per_group(num_replicas, self.group_size)
        own_group = replicas.replica_id_in_sync_group // group_size
        means, variances, counts = group_moments(
            inputs,
            replicas,
            num_groups=num_replicas // group_size,
            own_group=own_group,
        )
        unbiased = variances * counts / tf.maximum(counts - 1.0, 1.0)
        keep = self.momentum
        for average, values in (
            (self.moving_mean, means),
            (self.moving_variance, unbiased),
        ):
            latest = tf.reduce_mean(values, axis=0)
            average.assign(keep * average + (1.0 - keep) * latest)
        mean, variance = means[own_group], variances[own_group]
        factor = self.gamma * tf.math.rsqrt(variance + self.epsilon)
        shift = self.beta - mean * factor
        outputs = tf.cast(inputs, tf.float32) * factor + shift
        return tf.cast(outputs, inputs.dtype)


def replicas_per_group(num_replicas: int, group_size: int) -> int:
    """Return how many replicas share their moments.

    Args:
        num_replicas: Replicas that share the global batch.
        group_size: A divisor of it, or 0 for the published rule: an eighth of
            the replicas, at least 8. Up to 8 replicas are one group; the
            published code left each of them alone.

    Raises:
        ValueError: The groups would not be equal.
    """
    if group_size == 0:
        size = max(_PUBLISHED_LEAST_SIZE, num_replicas // _PUBLISHED_GROUPS)
        size = min(size, num_replicas)
        while num_replicas % size:
            size += 1
        return size
    if num_replicas % group_size and group_size < num_replicas:
        raise ValueError(
            f"--model.batch_norm_group_size={group_size}: it does not divide "
            f"the {num_replicas} replicas. Give a divisor, or 0 for the "
            "published groups."
        )
    return min(group_size, num_replicas)


def group_moments(
    inputs: tf.Tensor,
    replicas: tf.distribute.ReplicaContext,
    *,
    num_groups: int,
    own_group: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return mean, biased variance and count of every group's batch.

    A strategy knows no sums over a part of its replicas: each adds its share
    to its group's row of a matrix that all replicas sum.

    Args:
        inputs: float [batch, height, width, channels], one replica's.
        replicas: Where it is called.
        num_groups: Number of groups.
        own_group: int32 [], this replica's.

    Returns:
        means: float32 [num_groups, channels].
        variances: float32 [num_groups, channels].
        counts: float32 [num_groups, 1], numbers of each channel.
    """
    inputs = tf.cast(inputs, tf.float32)
    shape = tf.cast(tf.shape(inputs)[:3], tf.float32)
    row = tf.one_hot(own_group, num_groups)[:, tf.newaxis]  # [num_groups, 1]
    local_sum = tf.reduce_sum(inputs, axis=[0, 1, 2])
    totals, counts = replicas.all_reduce(
        "sum", [row * local_sum, row * tf.reduce_prod(shape)]
    )
    means = totals / counts
    # A second exchange, because E[x^2] - E[x]^2 cancels where the mean is far
    # from zero.
    deviations = tf.reduce_sum((inputs - means[own_group]) ** 2, axis=[0, 1, 2])
    variances = replicas.all_reduce("sum", row * deviations) / counts
    return means, variances, counts


def make_norm(
    channels: int, /, *, name: str, dtype: Any = None, **options: Any
) -> BatchNormalization:
    """Make a batch normalization of `channels`, built.

    Args:
        channels: Of the maps.
        name: Of the layer.
        dtype: Of the layer.
        **options: `momentum`, `synchronized`, `group_size` and `frozen`.
    """
    layer = BatchNormalization(name=name, dtype=dtype, **options)
    layer.build((None, None, None, channels))
    return layer
