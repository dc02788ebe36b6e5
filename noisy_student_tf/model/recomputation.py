"""Recomputation of activations: memory for a second forward pass.

Within a layer nothing is kept for the gradient but its inputs; what the
gradient needs is computed again when it is asked for. Results are those of
the plain call, because noise is a function of its seed, and because the
layer's statistics are returned by the first computation, written once, and
ignored in the second. (RematScope of Keras fails in graphs; tf.recompute_grad
would move the statistics twice.)
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def call(
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
