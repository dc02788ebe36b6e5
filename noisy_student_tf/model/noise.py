"""The student's model noise: dropout and stochastic depth, without state.

Masks are a function of a seed and nothing else. The seed of a step is mixed
from (seed of the run, step, replica) by the caller and folded with a layer's
index here, so that replicas and layers draw different masks, a resumed run
draws those of an undisturbed one, and recomputation draws the same again.
"""

import tensorflow as tf


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
