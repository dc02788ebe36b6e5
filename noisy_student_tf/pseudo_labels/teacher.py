"""What a teacher can be made of: functions of images to probabilities."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# Images float32 [batch, height, width, 3] in [0, 255] to probabilities float32
# [batch, num_classes].
PredictFn = Callable[[tf.Tensor], tf.Tensor]

# Below it a float32 has no logarithm to speak of.
_TINY = 1e-30


def average(teachers: Sequence[PredictFn]) -> PredictFn:
    """Return the mean of several teachers' probabilities."""
    if len(teachers) == 1:
        return teachers[0]

    def predict_fn(images: tf.Tensor) -> tf.Tensor:
        return tf.add_n([each(images) for each in teachers]) / len(teachers)

    return predict_fn


def with_flip(teacher: PredictFn) -> PredictFn:
    """Return the mean over an image and its mirror image."""

    def predict_fn(images: tf.Tensor) -> tf.Tensor:
        mirrored = tf.reverse(images, axis=[2])
        return (teacher(images) + teacher(mirrored)) / 2

    return predict_fn


def with_temperature(teacher: PredictFn, temperature: float) -> PredictFn:
    """Return p^(1 / temperature), renormalized; 1 changes nothing."""
    if temperature == 1:
        return teacher

    def predict_fn(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(log_probabilities(teacher(images)) / temperature)

    return predict_fn


def log_probabilities(probabilities: tf.Tensor) -> tf.Tensor:
    """Return logarithms, finite also of zeros: they serve as logits."""
    return tf.math.log(tf.maximum(probabilities, _TINY))
