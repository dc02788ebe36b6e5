"""Exponential moving averages of all weights, with TensorFlow 1's ramp.

The averages are the variables of a second model of the same architecture, so
that they are evaluated without swapping. Batch normalization's statistics are
averaged too, as in the authors' code.
"""

import keras
import tensorflow as tf


def ramped_decay(decay: float, num_updates: tf.Tensor) -> tf.Tensor:
    """Return min(decay, (1 + t) / (10 + t)), float32.

    Args:
        decay: The final decay, in [0, 1).
        num_updates: t, an integer scalar: 0 at the first update.
    """
    updates = tf.cast(num_updates, tf.float32)
    return tf.minimum(decay, (1.0 + updates) / (10.0 + updates))


def start(averages: keras.Model, model: keras.Model) -> None:
    """Set the averages to the model's weights."""
    for average, weight in zip(averages.weights, model.weights, strict=True):
        average.assign(weight)


def update(averages: keras.Model, model: keras.Model, decay: tf.Tensor) -> None:
    """Move the averages towards the model's weights.

    Runs in a replica's context; every replica updates its own copy, so that
    nothing travels between devices.

    Args:
        averages: The model whose variables are the averages.
        model: The trained model.
        decay: float32 scalar in [0, 1]: what the averages keep.
    """
    pairs = [
        (average.value, weight.value)
        for average, weight in zip(averages.weights, model.weights, strict=True)
    ]

    def update_all(strategy: tf.distribute.Strategy, decays: tf.Tensor) -> None:
        for average, weight in pairs:
            strategy.extended.update(
                average, _blend, args=(weight, decays), group=False
            )

    context = tf.distribute.get_replica_context()
    if isinstance(context.strategy, tf.distribute.TPUStrategy):
        # On a TPU each replica assigns within its own program.
        update_all(context.strategy, decay)
    else:
        context.merge_call(update_all, args=(decay,))


def _blend(average: tf.Variable, weight: tf.Variable, decay: tf.Tensor) -> None:
    # average -= (1 - decay) * (average - weight), in few operations. In this
    # form a weight that does not move leaves its average untouched.
    tf.raw_ops.ResourceApplyGradientDescent(
        var=average.handle, alpha=1.0 - decay, delta=average - weight
    )
