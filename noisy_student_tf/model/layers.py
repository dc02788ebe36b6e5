"""Layers of EfficientNet: squeeze-and-excite and MBConv blocks."""

import math
from typing import Any

import keras
import tensorflow as tf

from noisy_student_tf.model import convolutions, noise, normalization

SQUEEZE_EXCITE_RATIO = 0.25

_PACKAGE = "noisy_student_tf"


@keras.saving.register_keras_serializable(_PACKAGE)
class SqueezeExcite(keras.layers.Layer):
    """Scale channels by a gate that sees the means of all channels."""

    def __init__(self, filters: int, *, seed: int, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.filters = filters
        self.seed = seed

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Create the two convolutions."""
        channels = input_shape[-1]
        options: dict[str, Any] = {
            "seed": self.seed,
            "use_bias": True,
            "dtype": self.dtype_policy,
        }
        self.reduce = convolutions.make_conv(
            self.filters, 1, name="reduce", **options
        )
        self.expand = convolutions.make_conv(
            channels, 1, name="expand", **options
        )
        self.reduce.build((None, 1, 1, channels))
        self.expand.build((None, 1, 1, self.filters))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Scale `inputs`: float [batch, height, width, channels]."""
        means = tf.reduce_mean(inputs, axis=[1, 2], keepdims=True)
        gate = self.expand(convolutions.swish(self.reduce(means)))
        return inputs * tf.sigmoid(gate)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = {"filters": self.filters, "seed": self.seed}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(_PACKAGE)
class MBConvBlock(keras.layers.Layer):
    """Inverted bottleneck: expand, depthwise, squeeze and excite, project.

    Where shapes allow the identity is added, and the rest of the block may be
    dropped (stochastic depth).
    """

    def __init__(
        self,
        *,
        filters: int,
        kernel_size: int,
        strides: int,
        expand_ratio: int,
        stochastic_depth_rate: float,
        noise_index: int,
        batch_norm_momentum: float,
        synchronized_batch_norm: bool,
        seed: int,
        batch_norm_group_size: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.expand_ratio = expand_ratio
        self.stochastic_depth_rate = stochastic_depth_rate
        self.noise_index = noise_index
        self.batch_norm_momentum = batch_norm_momentum
        self.synchronized_batch_norm = synchronized_batch_norm
        self.batch_norm_group_size = batch_norm_group_size
        self.seed = seed

    def _make_norm(self, name: str) -> normalization.BatchNormalization:
        return normalization.make_norm(
            name=name,
            momentum=self.batch_norm_momentum,
            synchronized=self.synchronized_batch_norm,
            group_size=self.batch_norm_group_size,
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Create all layers for `input_shape`, of which channels matter."""
        channels = input_shape[-1]
        expanded = channels * self.expand_ratio
        seed = convolutions.derive_seed(self.seed, self.name)
        dtype = self.dtype_policy
        self.has_identity = self.strides == 1 and channels == self.filters
        self.expand_conv: keras.layers.Layer | None = None
        self.expand_norm: keras.layers.Layer | None = None
        if self.expand_ratio != 1:
            self.expand_conv = convolutions.make_conv(
                expanded, 1, name="expand_conv", seed=seed, dtype=dtype
            )
            self.expand_conv.build((None, None, None, channels))
            self.expand_norm = self._make_norm("expand_norm")
            self.expand_norm.build((None, None, None, expanded))
        self.depthwise_conv = convolutions.DepthwiseConv2D(
            self.kernel_size,
            strides=self.strides,
            padding="same",
            use_bias=False,
            depthwise_initializer=convolutions.conv_initializer(
                convolutions.derive_seed(seed, "depthwise_conv")
            ),
            name="depthwise_conv",
            dtype=dtype,
            autocast=False,
        )
        self.depthwise_conv.build((None, None, None, expanded))
        self.depthwise_norm = self._make_norm("depthwise_norm")
        self.depthwise_norm.build((None, None, None, expanded))
        self.squeeze_excite = SqueezeExcite(
            # Of the block's input channels, not of the expanded ones.
            max(1, int(channels * SQUEEZE_EXCITE_RATIO)),
            seed=seed,
            name="squeeze_excite",
            dtype=dtype,
        )
        self.squeeze_excite.build((None, None, None, expanded))
        self.project_conv = convolutions.make_conv(
            self.filters, 1, name="project_conv", seed=seed, dtype=dtype
        )
        self.project_conv.build((None, None, None, expanded))
        self.project_norm = self._make_norm("project_norm")
        self.project_norm.build((None, None, None, self.filters))

    def call(
        self,
        inputs: tf.Tensor,
        training: bool = False,
        noise_seed: tf.Tensor | None = None,
        noised: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Apply the block.

        Args:
            inputs: float [batch, height, width, channels].
            training: Normalize by the batch's statistics.
            noise_seed: int32 [2], or None for no stochastic depth.
            noised: bool [batch], which examples may be dropped; None: all.

        Returns:
            float [batch, ceil(height / strides), ceil(width / strides),
            filters].
        """
        x = inputs
        if self.expand_conv is not None and self.expand_norm is not None:
            x = self.expand_conv(x)
            x = convolutions.swish(self.expand_norm(x, training=training))
        x = self.depthwise_conv(x)
        x = convolutions.swish(self.depthwise_norm(x, training=training))
        x = self.squeeze_excite(x)
        x = self.project_norm(self.project_conv(x), training=training)
        if not self.has_identity:
            return x
        if noise_seed is not None:
            x = noise.stochastic_depth(
                x,
                rate=self.stochastic_depth_rate,
                seed=noise.layer_seed(noise_seed, self.noise_index),
                noised=noised,
            )
        return inputs + x

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = (
            "filters",
            "kernel_size",
            "strides",
            "expand_ratio",
            "stochastic_depth_rate",
            "noise_index",
            "batch_norm_momentum",
            "synchronized_batch_norm",
            "batch_norm_group_size",
            "seed",
        )
        config = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **config}


def round_filters(filters: int, width: float) -> int:
    """Scale channels to a multiple of 8, never more than 10 % down."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    if rounded < 0.9 * scaled:
        rounded += 8
    return rounded


def round_repeats(repeats: int, depth: float) -> int:
    """Scale the number of a stage's blocks, rounding up."""
    return math.ceil(repeats * depth)
