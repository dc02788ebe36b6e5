"""How long a run is, and its learning rates as pure functions of the step."""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from noisy_student_tf import configs

# An integer scalar, the number of updates made so far -> float32 scalar.
Schedule = Callable[[tf.Tensor], tf.Tensor]

# The published rates are per 256 labeled images of the global batch.
_REFERENCE_BATCH_SIZE = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Durations:
    """Lengths of one training run, and the batches that they follow from.

    Attributes:
        total_steps: Length of the run.
        steps_per_epoch: Steps per pass over the labeled images, fractional.
        labeled_batch_size: Labeled images of the global batch.
        unlabeled_batch_size: Unlabeled images of the global batch, or 0.
        steps_per_loop: Steps between log lines.
        evaluate_every_steps: A multiple of `steps_per_loop`.
        checkpoint_every_steps: A multiple of `steps_per_loop`.
    """

    total_steps: int
    steps_per_epoch: float
    labeled_batch_size: int
    unlabeled_batch_size: int
    steps_per_loop: int
    evaluate_every_steps: int
    checkpoint_every_steps: int


def make_durations(
    config: configs.Config,
    *,
    num_labeled: int,
    epochs: float,
    has_unlabeled: bool,
    min_steps: int = 0,
) -> Durations:
    """Turn durations in epochs into steps.

    Args:
        config: Names the batches and the intervals.
        num_labeled: Labeled training images.
        epochs: Length of the run in passes over them.
        has_unlabeled: Whether batches hold pseudo-labeled images too.
        min_steps: Least length of the run.

    Raises:
        ValueError: There is no labeled image.
    """
    if num_labeled < 1:
        raise ValueError(
            f"The training split holds {num_labeled} labeled images; at least "
            "one is needed. Look at --data.labeled and the splits' fractions."
        )
    training = config.training
    steps_per_epoch = num_labeled / training.kept_labeled_batch_size
    total_steps = max(1, min_steps, round(epochs * steps_per_epoch))
    steps_per_loop = min(training.steps_per_loop, total_steps)

    def whole_loops(num_steps: int) -> int:
        return math.ceil(num_steps / steps_per_loop) * steps_per_loop

    return Durations(
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        labeled_batch_size=training.labeled_batch_size,
        unlabeled_batch_size=(
            training.unlabeled_batch_size if has_unlabeled else 0
        ),
        steps_per_loop=steps_per_loop,
        evaluate_every_steps=whole_loops(training.evaluate_every_steps),
        checkpoint_every_steps=whole_loops(training.checkpoint_every_steps),
    )


def learning_rate(durations: Durations, config: configs.Config) -> Schedule:
    """Return the configured schedule: a warm-up, then the decay.

    Decays count from step 0, not from the end of the warm-up, as in the
    authors' code. The peak is linear in the labeled images of a batch whose
    loss counts; unlabeled ones do not, as in the authors' code.

    Args:
        durations: Of the run; cosine reaches zero at their end.
        config: Names the schedule, its rate per 256 labeled images and its
            lengths in labeled epochs.
    """
    optimizer = config.optimizer
    kept = config.training.kept_labeled_batch_size
    peak = optimizer.base_learning_rate * kept / _REFERENCE_BATCH_SIZE
    if optimizer.schedule == "exponential":
        decayed = exponential(
            peak,
            decay_steps=optimizer.decay_epochs * durations.steps_per_epoch,
            decay_rate=optimizer.decay_rate,
        )
    elif optimizer.schedule == "cosine":
        decayed = cosine(peak, total_steps=durations.total_steps)
    else:
        decayed = constant(peak)
    warmup_steps = max(
        int(optimizer.warmup_epochs * durations.steps_per_epoch),
        int(optimizer.warmup_share * durations.total_steps),
    )
    return with_warmup(decayed, peak=peak, warmup_steps=warmup_steps)


def last_base_learning_rate(
    durations: Durations, config: configs.Config
) -> float:
    """Return the rate of a run's last step, per 256 labeled images."""
    last_step = tf.constant(durations.total_steps - 1)
    last = float(learning_rate(durations, config)(last_step))
    kept = config.training.kept_labeled_batch_size
    return last / (kept / _REFERENCE_BATCH_SIZE)


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
