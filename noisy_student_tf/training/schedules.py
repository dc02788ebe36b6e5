"""Learning rates as pure functions of the step."""

import math
from collections.abc import Callable

import tensorflow as tf

from noisy_student_tf import configs

# An integer scalar, the number of updates made so far -> float32 scalar.
Schedule = Callable[[tf.Tensor], tf.Tensor]

# The published rates are per 256 labeled images of the global batch.
_REFERENCE_BATCH_SIZE = 256


def peak_learning_rate(base: float, labeled_batch_size: float) -> float:
    """Return the rate of a batch: linear in its labeled images.

    Unlabeled images do not count, as in the authors' code.
    """
    return base * labeled_batch_size / _REFERENCE_BATCH_SIZE


def make_schedule(
    optimizer: configs.OptimizerConfig,
    *,
    labeled_batch_size: float,
    steps_per_epoch: float,
    total_steps: int,
) -> Schedule:
    """Return the configured schedule: a warm-up, then the decay.

    Decays count from step 0, not from the end of the warm-up, as in the
    authors' code.

    Args:
        optimizer: Names the schedule and its lengths in labeled epochs.
        labeled_batch_size: Labeled images of the global batch whose loss
            counts, on average.
        steps_per_epoch: Steps per pass over the labeled images, fractional.
        total_steps: Where cosine reaches zero.
    """
    peak = peak_learning_rate(optimizer.base_learning_rate, labeled_batch_size)
    if optimizer.schedule == "exponential":
        decayed = exponential(
            peak,
            decay_steps=optimizer.decay_epochs * steps_per_epoch,
            decay_rate=optimizer.decay_rate,
        )
    elif optimizer.schedule == "cosine":
        decayed = cosine(peak, total_steps=total_steps)
    else:
        decayed = constant(peak)
    warmup_steps = int(optimizer.warmup_epochs * steps_per_epoch)
    return with_warmup(decayed, peak=peak, warmup_steps=warmup_steps)


def constant(rate: float) -> Schedule:
    """Return a schedule of one rate."""
    return lambda step: tf.constant(rate, tf.float32)


def exponential(
    peak: float, *, decay_steps: float, decay_rate: float
) -> Schedule:
    """Return peak * decay_rate^floor(step / decay_steps)."""

    def rate(step: tf.Tensor) -> tf.Tensor:
        stairs = tf.floor(tf.cast(step, tf.float32) / decay_steps)
        return peak * tf.pow(decay_rate, stairs)

    return rate


def cosine(peak: float, *, total_steps: int) -> Schedule:
    """Return half a cosine from the peak to zero at `total_steps`."""

    def rate(step: tf.Tensor) -> tf.Tensor:
        share = tf.minimum(tf.cast(step, tf.float32) / total_steps, 1.0)
        return 0.5 * peak * (1.0 + tf.cos(math.pi * share))

    return rate


def with_warmup(
    schedule: Schedule, *, peak: float, warmup_steps: int
) -> Schedule:
    """Return a schedule that first rises linearly from 0 to the peak."""
    if warmup_steps == 0:
        return schedule

    def rate(step: tf.Tensor) -> tf.Tensor:
        rising = peak * tf.cast(step, tf.float32) / warmup_steps
        return tf.where(step < warmup_steps, rising, schedule(step))

    return rate
