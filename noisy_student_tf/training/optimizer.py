"""The optimizers: RMSProp with TensorFlow 1's arithmetic, and SGD."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from noisy_student_tf import config
from noisy_student_tf.training import schedules


class RMSProp(keras.optimizers.RMSprop):
    """RMSProp as TensorFlow 1 computes it.

    Keras has epsilon inside the root as well, but starts the second moment at
    0, which makes its first steps about three times as long; TensorFlow 1
    starts it at 1.
    """

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the slots of `variables`, second moments at 1."""
        if self.built:
            return
        super().build(variables)
        for second_moment in self._velocities:
            second_moment.assign(tf.ones(second_moment.shape))


def make_optimizer(
    optimizer: config.OptimizerConfig, schedule: schedules.Schedule
) -> keras.optimizers.Optimizer:
    """Return the configured optimizer, not built yet.

    Weight decay, clipping and averaging are left to the training step: those
    of Keras are decoupled, per replica, and without batch normalization's
    statistics.

    Args:
        optimizer: Its name and its constants.
        schedule: Learning rate of each step.
    """
    learning_rate = _ScheduledRate(schedule)
    if optimizer.name == "sgd":
        return keras.optimizers.SGD(learning_rate, momentum=optimizer.momentum)
    return RMSProp(
        learning_rate,
        rho=optimizer.rms_decay,
        momentum=optimizer.momentum,
        epsilon=optimizer.epsilon,
    )


class _ScheduledRate(keras.optimizers.schedules.LearningRateSchedule):
    """Hand a pure function of the step to a Keras optimizer."""

    def __init__(self, schedule: schedules.Schedule) -> None:
        self._schedule = schedule

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return self._schedule(tf.convert_to_tensor(step))
