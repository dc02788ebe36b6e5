"""How long a run is, and how large its batches are."""

import dataclasses
import math

import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.configs import derived
from noisy_student_tf.training import schedules


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Batches and durations of one training run.

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


def make_plan(
    config: configs.Config,
    *,
    num_labeled: int,
    epochs: float,
    has_unlabeled: bool,
) -> Plan:
    """Turn durations in epochs into steps.

    Args:
        config: Names the batches and the intervals.
        num_labeled: Labeled training images.
        epochs: Length of the run in passes over them.
        has_unlabeled: Whether batches hold pseudo-labeled images too.

    Raises:
        ValueError: There is no labeled image.
    """
    if num_labeled < 1:
        raise ValueError(
            f"The training split holds {num_labeled} labeled images; at least "
            "one is needed. Look at --data.labeled and the splits' fractions."
        )
    training = config.training
    steps_per_epoch = num_labeled / derived.kept_labeled_batch_size(training)
    total_steps = max(1, round(epochs * steps_per_epoch))
    steps_per_loop = min(training.steps_per_loop, total_steps)

    def whole_loops(num_steps: int) -> int:
        return math.ceil(num_steps / steps_per_loop) * steps_per_loop

    return Plan(
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        labeled_batch_size=training.labeled_batch_size,
        unlabeled_batch_size=(
            derived.unlabeled_batch_size(training) if has_unlabeled else 0
        ),
        steps_per_loop=steps_per_loop,
        evaluate_every_steps=whole_loops(training.evaluate_every_steps),
        checkpoint_every_steps=whole_loops(training.checkpoint_every_steps),
    )


def make_schedule(plan: Plan, config: configs.Config) -> schedules.Schedule:
    """Return the configured learning rate of a plan's steps."""
    return schedules.make_schedule(
        config.optimizer,
        labeled_batch_size=derived.kept_labeled_batch_size(config.training),
        steps_per_epoch=plan.steps_per_epoch,
        total_steps=plan.total_steps,
    )


def last_base_learning_rate(plan: Plan, config: configs.Config) -> float:
    """Return the rate of a plan's last step, per 256 labeled images."""
    last = float(make_schedule(plan, config)(tf.constant(plan.total_steps - 1)))
    kept = derived.kept_labeled_batch_size(config.training)
    return last / schedules.peak_learning_rate(1.0, kept)
