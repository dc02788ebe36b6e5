"""A run's schedule, simulated: rates, averages and passes over the data."""

import dataclasses

import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.planning import compute
from noisy_student_tf.training import ema, schedules


@dataclasses.dataclass(frozen=True)
class Point:
    """Where a student's training stands at one step.

    Attributes:
        step: Updates made.
        epoch: Passes over the labeled images.
        learning_rate: Of the next update.
        ema_decay: Of the next update.
        unlabeled_passes: Passes over the pseudo-labeled rows.
    """

    step: int
    epoch: float
    learning_rate: float
    ema_decay: float
    unlabeled_passes: float


def simulate(
    config: configs.Config, data: compute.Data, *, num_points: int
) -> list[Point]:
    """Return a student's schedule at equal distances, both ends included.

    Args:
        config: The run.
        data: Its images.
        num_points: At least 2.
    """
    durations = schedules.make_durations(
        config,
        num_labeled=data.num_labeled,
        epochs=config.training.student_epochs,
        min_steps=config.training.min_steps,
        has_unlabeled=True,
    )
    learning_rate = schedules.learning_rate(durations, config)
    points = []
    for index in range(num_points):
        step = round(index * durations.total_steps / (num_points - 1))
        decay = ema.ramped_decay(config.optimizer.ema_decay, tf.constant(step))
        points.append(
            Point(
                step=step,
                epoch=step / durations.steps_per_epoch,
                learning_rate=float(learning_rate(tf.constant(step))),
                ema_decay=float(decay),
                unlabeled_passes=step
                * durations.unlabeled_batch_size
                / data.num_rows,
            )
        )
    return points
