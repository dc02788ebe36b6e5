"""Layers of EfficientNet, and the noise of a student's.

Dropout and stochastic depth are functions of a seed and nothing else. The seed
of a step is mixed from (seed of the run, step, replica) by the caller and
folded with a layer's index here, so that replicas and layers draw different
masks, a resumed run draws those of an undisturbed one, and recomputation draws
the same again.

`recompute` calls a layer and trades memory for a second forward pass: nothing
is kept for the gradient but the layer's inputs. Results are those of the plain
call, because noise is a function of its seed, and because the layer's
statistics are returned by the first computation, written once, and ignored in
the second. (RematScope of Keras fails in graphs; tf.recompute_grad would move
the statistics twice.)
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from noisy_student_tf.model import (
    convolutions,
    efficientnet_variants,
    normalization,
)

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
        make = functools.partial(
            convolutions.make_conv,
            seed=self.seed,
            use_bias=True,
            dtype=self.dtype_policy,
        )
        self.reduce = make(channels, self.filters, name="reduce")
        self.expand = make(self.filters, channels, name="expand")

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
    dropped (stochastic depth). A squeeze-and-excite ratio of 0: no gate.
    """

    def __init__(
        self,
        *,
        filters: int,
        kernel_size: int,
        strides: int,
        expand_ratio: int,
        squeeze_excite_ratio: float,
        activation: str,
        stochastic_depth_rate: float,
        noise_index: int,
        norm_options: dict[str, Any],
        seed: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.expand_ratio = expand_ratio
        self.squeeze_excite_ratio = squeeze_excite_ratio
        self.activation = activation
        self.stochastic_depth_rate = stochastic_depth_rate
        self.noise_index = noise_index
        self.norm_options = norm_options
        self.seed = seed

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Create all layers for `input_shape`, of which channels matter."""
        channels = input_shape[-1]
        expanded = channels * self.expand_ratio
        dtype = self.dtype_policy
        options: dict[str, Any] = {
            "seed": convolutions.derive_seed(self.seed, self.name),
            "dtype": dtype,
        }
        make_norm = functools.partial(
            normalization.make_norm, dtype=dtype, **self.norm_options
        )
        self.has_identity = self.strides == 1 and channels == self.filters
        self.expand_conv: keras.layers.Layer | None = None
        self.expand_norm: keras.layers.Layer | None = None
        if self.expand_ratio != 1:
            self.expand_conv = convolutions.make_conv(
                channels, expanded, name="expand_conv", **options
            )
            self.expand_norm = make_norm(expanded, name="expand_norm")
        self.depthwise_conv = convolutions.make_conv(
            expanded,
            None,
            self.kernel_size,
            strides=self.strides,
            name="depthwise_conv",
            **options,
        )
        self.depthwise_norm = make_norm(expanded, name="depthwise_norm")
        self.squeeze_excite: SqueezeExcite | None = None
        if self.squeeze_excite_ratio:
            self.squeeze_excite = SqueezeExcite(
                # Of the block's input channels, not of the expanded ones.
                efficientnet_variants.squeezed_filters(
                    channels, self.squeeze_excite_ratio
                ),
                name="squeeze_excite",
                **options,
            )
            self.squeeze_excite.build((None, None, None, expanded))
        self.project_conv = convolutions.make_conv(
            expanded, self.filters, name="project_conv", **options
        )
        self.project_norm = make_norm(self.filters, name="project_norm")

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
            x = self.expand_norm(self.expand_conv(x), training=training)
            x = convolutions.activate(x, self.activation)
        x = self.depthwise_norm(self.depthwise_conv(x), training=training)
        x = convolutions.activate(x, self.activation)
        if self.squeeze_excite is not None:
            x = self.squeeze_excite(x)
        x = self.project_norm(self.project_conv(x), training=training)
        if not self.has_identity:
            return x
        if noise_seed is not None:
            x = stochastic_depth(
                x,
                rate=self.stochastic_depth_rate,
                seed=layer_seed(noise_seed, self.noise_index),
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
            "squeeze_excite_ratio",
            "activation",
            "stochastic_depth_rate",
            "noise_index",
            "norm_options",
            "seed",
        )
        config = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **config}


def layer_seed(noise_seed: tf.Tensor, layer_index: int) -> tf.Tensor:
    """Return the seed of one layer's noise.

    Args:
        noise_seed: int32 [2], the seed of this step on this replica.
        layer_index: Number of the layer among those that draw noise.

    Returns:
        int32 [2].
    """
    return tf.random.experimental.stateless_fold_in(noise_seed, layer_index)


def stochastic_depth(
    residual: tf.Tensor,
    *,
    rate: float,
    seed: tf.Tensor,
    noised: tf.Tensor | None = None,
) -> tf.Tensor:
    """Drop a block's residual branch for a random share of the examples.

    Kept branches are divided by 1 - rate, so that the expectation is the
    value that inference uses.

    Args:
        residual: float [batch, ...], the branch beside the identity.
        rate: Probability of dropping, in [0, 1).
        seed: int32 [2].
        noised: bool [batch], which examples are subject to noise; None: all.

    Returns:
        As `residual`.
    """
    batch_size = tf.shape(residual)[:1]
    shape = tf.concat([batch_size, [1] * (len(residual.shape) - 1)], axis=0)
    return _drop(residual, shape, rate, seed, noised)


def dropout(
    inputs: tf.Tensor,
    *,
    rate: float,
    seed: tf.Tensor,
    noised: tf.Tensor | None = None,
) -> tf.Tensor:
    """Zero a random share of the features and scale the others up.

    Args:
        inputs: float [batch, features].
        rate: Probability of zeroing, in [0, 1).
        seed: int32 [2].
        noised: bool [batch], which examples are subject to noise; None: all.

    Returns:
        As `inputs`.
    """
    return _drop(inputs, tf.shape(inputs), rate, seed, noised)


def _drop(
    values: tf.Tensor,
    shape: tf.Tensor,
    rate: float,
    seed: tf.Tensor,
    noised: tf.Tensor | None,
) -> tf.Tensor:
    """Multiply by 0 where dropped and by 1 / (1 - rate) where kept.

    What is dropped is drawn in a shape that is broadcast to that of `values`.
    """
    if rate == 0:
        return values
    # A named algorithm, so that all devices draw the same numbers.
    uniform = tf.random.stateless_uniform(shape, seed, alg="philox")
    scale = tf.where(uniform >= rate, 1.0 / (1.0 - rate), 0.0)
    if noised is not None:
        noised = tf.reshape(noised, [-1] + [1] * (len(values.shape) - 1))
        scale = tf.where(noised, scale, 1.0)
    return values * tf.cast(scale, values.dtype)


def recompute(
    layer: keras.layers.Layer, inputs: tf.Tensor, **options: Any
) -> tf.Tensor:
    """Call a layer and keep none of its activations for the gradient.

    Args:
        layer: Built; what it draws must depend on `options` alone.
        inputs: float [batch, ...], which gets a gradient.
        **options: Other arguments of the call; they get none.

    Returns:
        What the layer returns, one tensor.
    """
    trained = list(map(_read, layer.trainable_variables))
    fixed = list(map(_read, layer.non_trainable_variables))
    statistics: list[keras.Variable] = []

    def compute(sources: Sequence[tf.Tensor]) -> tuple[tf.Tensor, Any]:
        inputs, *trained = sources
        return layer.stateless_call(trained, fixed, inputs, **options)

    @tf.custom_gradient
    def forget(*sources: tf.Tensor) -> Any:
        outputs, latest = compute(sources)
        updates = []
        for variable, old, new in zip(
            layer.non_trainable_variables, fixed, latest, strict=True
        ):
            if new is not old:
                statistics.append(variable)
                updates.append(tf.stop_gradient(new))

        def gradients(upstream: tf.Tensor, *_: Any) -> Sequence[tf.Tensor]:
            later = [_after(upstream, sources[0]), *sources[1:]]
            with tf.GradientTape() as tape:
                tape.watch(later)
                again, _ = compute(later)
            return tape.gradient(again, later, output_gradients=upstream)

        return (outputs, *updates), gradients

    outputs, *updates = forget(inputs, *trained)
    for variable, update in zip(statistics, updates, strict=True):
        variable.assign(update)
    return outputs


def _read(variable: keras.Variable) -> tf.Tensor:
    return tf.convert_to_tensor(variable.value)


def _after(upstream: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """Return `inputs`, but not before `upstream` is there.

    Else the second computation could run beside the first, or be merged with
    it, and nothing would be saved. XLA knows no order but that of the data:
    a number of `upstream` is added, as 0 if it is finite.
    """
    number = tf.reshape(upstream, [-1])[0]
    zero = tf.where(tf.math.is_finite(number), tf.zeros_like(number), number)
    return inputs + tf.cast(zero, inputs.dtype)
