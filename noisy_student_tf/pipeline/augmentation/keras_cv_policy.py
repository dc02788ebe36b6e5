"""KerasCV's RandAugment layer as a policy, with stateless draws.

The layer draws from generators that keep their state in variables: in a
parallel map its images would depend on timing. It gets generators that draw
from a seed instead. KerasCV 0.9 is the last release, so the private attribute
that holds them stays where it is.
"""

from collections.abc import Callable
from typing import Any

import keras_cv
import tensorflow as tf

# KerasCV's strength 1 is the most that its operations do.
_NOMINAL_MAGNITUDE = 10.0


class _StatelessGenerator:
    """Draws as `tf.random.Generator` does, from a seed."""

    def __init__(self, seed: tf.Tensor):
        self._seed = seed
        self._num_draws = 0

    def uniform(
        self,
        shape: Any,
        minval: Any = 0,
        maxval: Any = None,
        dtype: tf.DType = tf.float32,
    ) -> tf.Tensor:
        """Draw from [minval, maxval); every call in a graph draws anew."""
        self._num_draws += 1
        return tf.random.stateless_uniform(
            shape,
            tf.random.fold_in(self._seed, self._num_draws),
            minval=minval,
            maxval=maxval,
            dtype=dtype,
        )

    def sampler(self, minval: float, maxval: float) -> Callable[..., tf.Tensor]:
        """Return what stands in for KerasCV's UniformFactorSampler."""

        def sample(shape: Any = (), dtype: tf.DType = tf.float32) -> tf.Tensor:
            return self.uniform(shape, minval, maxval, dtype)

        return sample


def apply(
    image: tf.Tensor, *, num_ops: int, magnitude: float, seed: tf.Tensor
) -> tf.Tensor:
    """Apply KerasCV's RandAugment.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        num_ops: Operations per image.
        magnitude: 10 is KerasCV's strength 1; more is the same as 10.
        seed: int32 [2]. The same seed gives the same image.

    Returns:
        uint8 [height, width, 3] in [0, 255].
    """
    layer = keras_cv.layers.RandAugment(
        value_range=(0, 255),
        augmentations_per_image=num_ops,
        magnitude=min(magnitude / _NOMINAL_MAGNITUDE, 1.0),
        # Its magnitudes would be drawn with state; published ones are fixed.
        magnitude_stddev=0.0,
        rate=1.0,
    )
    generator = _StatelessGenerator(seed)
    for part in (layer, layer._random_choice, *layer._random_choice.layers):
        part._random_generator = generator
        sampler = getattr(part, "factor", None)
        if isinstance(sampler, keras_cv.core.UniformFactorSampler):
            part.factor = generator.sampler(sampler.lower, sampler.upper)
    # Its Python branches depend on tensors; tf.function converts them.
    noised = tf.function(layer)(tf.cast(image, tf.float32), training=True)
    noised = tf.cast(tf.clip_by_value(noised, 0.0, 255.0), tf.uint8)
    return tf.ensure_shape(noised, image.shape)
