"""Batch normalization, over one replica or over groups of them."""

import dataclasses
from typing import Any

import keras
import numpy as np
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
        size = replicas_per_group(
            replicas.num_replicas_in_sync, self.group_size
        )
        scale, offset, shift = map(
            tf.convert_to_tensor, (self.gamma, self.beta, self.moving_mean)
        )
        outputs, *latest = normalize(
            inputs,
            scale,
            offset,
            shift=shift,
            epsilon=self.epsilon,
            groups=ReplicaGroups(replicas, size),
        )
        keep = self.momentum
        for average, values in zip(
            (self.moving_mean, self.moving_variance), latest, strict=True
        ):
            average.assign(keep * average + (1.0 - keep) * values)
        return outputs


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


@dataclasses.dataclass(frozen=True)
class ReplicaGroups:
    """Groups of neighboring replicas that share their sums.

    Attributes:
        replicas: The context in which one of them computes.
        size: Replicas of a group; divides their number.
    """

    replicas: tf.distribute.ReplicaContext
    size: int

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return self.replicas.num_replicas_in_sync // self.size

    def sums(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the sums over a group, by one exchange.

        Args:
            values: float32 [n], one replica's.

        Returns:
            Of the replica's own group, [n]; and of all groups that the
            exchange tells it of, [num_known, n].
        """
        if self._has_grouped_sums:
            own = tf.raw_ops.CrossReplicaSum(
                input=values, group_assignment=self._assignment(self.size)
            )
            return own, own[tf.newaxis]
        if self.num_groups == 1:
            total = self.replicas.all_reduce("sum", values)
            return total, total[tf.newaxis]
        # A strategy knows no sums over a part of its replicas: each adds its
        # share to its group's row of a matrix that all replicas sum.
        index = self.replicas.replica_id_in_sync_group // self.size
        row = tf.one_hot(index, self.num_groups)[:, tf.newaxis]
        every = self.replicas.all_reduce("sum", row * values)
        return every[index], every

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """Return the mean over all groups of what `sums` told of some.

        Args:
            values: float32 [num_known, n], equal in a group's replicas.
        """
        mean = tf.reduce_mean(values, axis=0)
        if not self._has_grouped_sums:
            return mean
        count = self.replicas.num_replicas_in_sync
        total = tf.raw_ops.CrossReplicaSum(
            input=mean, group_assignment=self._assignment(count)
        )
        return total / count

    @property
    def _has_grouped_sums(self) -> bool:
        is_tpu = isinstance(self.replicas.strategy, tf.distribute.TPUStrategy)
        return is_tpu and self.num_groups > 1

    def _assignment(self, size: int) -> np.ndarray:
        count = self.replicas.num_replicas_in_sync
        return np.arange(count, dtype=np.int32).reshape([-1, size])


def normalize(
    inputs: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    *,
    shift: tf.Tensor,
    epsilon: float,
    groups: ReplicaGroups,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalize by a group's moments: one exchange forward, one backward.

    Of the inputs nothing is kept but themselves, in their own type.

    Args:
        inputs: float [batch, height, width, channels], one replica's.
        scale: float32 [channels].
        offset: float32 [channels].
        shift: float32 [channels], equal in all replicas. The nearer to the
            means, the less do squares of what is beyond it cancel.
        epsilon: Added to variances.
        groups: The replicas that share their moments.

    Returns:
        The outputs, as `inputs`; and the mean and the unbiased variance,
        float32 [channels], averaged over all groups, without gradients.
    """

    @tf.custom_gradient
    def compute(inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> Any:
        own, every = groups.sums(_shifted_sums(inputs, shift))
        mean, variance, count = _moments(own, shift)
        inverse = tf.math.rsqrt(variance + epsilon)
        factor = scale * inverse
        outputs = tf.cast(inputs, tf.float32) * factor
        outputs = tf.cast(outputs + (offset - mean * factor), inputs.dtype)
        latest = groups.mean(_unbiased_moments(every, shift))

        def gradients(upstream: tf.Tensor, *_: Any) -> tuple[tf.Tensor, ...]:
            centered = tf.cast(inputs, tf.float32) - mean
            upstream = tf.cast(upstream, tf.float32)
            own = _sums(upstream, upstream * centered)
            even, along = tf.split(groups.sums(own)[0] / count, 2)
            rest = upstream - even - centered * (along * inverse**2)
            of_offset, of_scale = tf.split(own, 2)
            gradient = tf.cast(rest * factor, inputs.dtype)
            return gradient, of_scale * inverse, of_offset

        return (outputs, *tf.split(latest, 2)), gradients

    return compute(inputs, scale, offset)


def _shifted_sums(inputs: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Return sums, sums of squares and the count: [2 * channels + 1]."""
    values = tf.cast(inputs, tf.float32) - shift
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
    sums = _sums(values, tf.square(values))
    return tf.concat([sums, count[tf.newaxis]], 0)


def _sums(*maps: tf.Tensor) -> tf.Tensor:
    """Return the sums of each channel, one map's after another's."""
    sums = [tf.reduce_sum(values, axis=[0, 1, 2]) for values in maps]
    return tf.concat(sums, 0)


def _moments(
    sums: tf.Tensor, shift: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return means, biased variances [..., channels] and counts [..., 1]."""
    channels = shift.shape[0]
    first, second, counts = tf.split(sums, [channels, channels, 1], axis=-1)
    beyond = first / counts
    variances = tf.maximum(second / counts - tf.square(beyond), 0.0)
    return shift + beyond, variances, counts


def _unbiased_moments(sums: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Return means, and behind them variances: [..., 2 * channels]."""
    means, variances, counts = _moments(sums, shift)
    unbiased = variances * counts / tf.maximum(counts - 1.0, 1.0)
    return tf.concat([means, unbiased], -1)


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
