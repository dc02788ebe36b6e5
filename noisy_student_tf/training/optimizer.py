"""The optimizers: RMSProp as TensorFlow 1 computes it, and those of Keras.

RMSProp and SGD update a variable in one operation of TensorFlow, where Keras
makes about ten: with a few hundred small variables those are a good part of a
step.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.training import schedules


class _Shared(keras.optimizers.Optimizer):
    """Gives each variable a share of the learning rate; without any, all.

    Attributes:
        shares: One a variable, in the order of `build`.
    """

    shares: Sequence[float] = ()

    def own_rate(
        self, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> tf.Tensor:
        """Return a variable's rate."""
        if not self.shares:
            return learning_rate
        return learning_rate * self.shares[self._get_variable_index(variable)]

    def update_step(
        self,
        gradient: tf.Tensor,
        variable: tf.Variable,
        learning_rate: tf.Tensor,
    ) -> None:
        """Update a variable as Keras does, by its own rate."""
        rate = self.own_rate(variable, learning_rate)
        super().update_step(gradient, variable, rate)


class RMSProp(_Shared, keras.optimizers.RMSprop):
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

    def update_step(
        self,
        gradient: tf.Tensor,
        variable: tf.Variable,
        learning_rate: tf.Tensor,
    ) -> None:
        """Update a variable and its slots."""
        if not self.momentum:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._velocities[index].value.handle,
            mom=self._momentums[index].value.handle,
            lr=tf.cast(self.own_rate(variable, learning_rate), variable.dtype),
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=gradient,
        )


class SGD(_Shared, keras.optimizers.SGD):
    """Stochastic gradient descent with plain momentum, as Keras computes it."""

    def update_step(
        self,
        gradient: tf.Tensor,
        variable: tf.Variable,
        learning_rate: tf.Tensor,
    ) -> None:
        """Update a variable and its slot."""
        if not self.momentum:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[index].value.handle,
            lr=tf.cast(self.own_rate(variable, learning_rate), variable.dtype),
            grad=gradient,
            momentum=self.momentum,
        )


class AdamW(_Shared, keras.optimizers.AdamW):
    """Keras' AdamW; its weight decay is by the whole rate."""


class Lamb(_Shared, keras.optimizers.Lamb):
    """Keras' LAMB; its weight decay is by the whole rate."""


def decouples_weight_decay(optimizer: configs.OptimizerConfig) -> bool:
    """Tell whether the optimizer decays weights itself, outside the loss."""
    return optimizer.name in ("adamw", "lamb")


def make_optimizer(
    optimizer: configs.OptimizerConfig,
    schedule: schedules.Schedule,
    *,
    undecayed: Sequence[keras.Variable] = (),
    shares: Sequence[float] = (),
) -> keras.optimizers.Optimizer:
    """Return the configured optimizer, not built yet.

    Clipping and averaging are left to the training step: those of Keras are
    per replica, and without batch normalization's statistics. The weight
    decay of RMSProp and SGD is a part of the loss. AdamW and LAMB take
    `learning rate * weight_decay * v` off before each update, the rate being
    the scheduled one; in LAMB the decay is outside the trust ratio.

    Args:
        optimizer: Its name and its constants.
        schedule: Learning rate of each step.
        undecayed: Variables that AdamW and LAMB shall not decay.
        shares: Of the learning rate, one for each variable that will be
            trained; empty: all of it for all.
    """
    learning_rate = _ScheduledRate(schedule)
    made: SGD | RMSProp | AdamW | Lamb
    if optimizer.name == "sgd":
        made = SGD(learning_rate, momentum=optimizer.momentum)
    elif optimizer.name == "rmsprop":
        made = RMSProp(
            learning_rate,
            rho=optimizer.rms_decay,
            momentum=optimizer.momentum,
            epsilon=optimizer.epsilon,
        )
    else:
        rules: dict[str, type[AdamW | Lamb]] = {"adamw": AdamW, "lamb": Lamb}
        made = rules[optimizer.name](
            learning_rate,
            beta_1=optimizer.adam_beta_1,
            beta_2=optimizer.adam_beta_2,
            epsilon=optimizer.adam_epsilon,
            weight_decay=optimizer.weight_decay,
        )
        made.exclude_from_weight_decay(var_list=list(undecayed))
    made.shares = tuple(shares)
    return made


def clip_across_replicas(
    gradients: list[tf.Tensor], clip_norm: float
) -> list[tf.Tensor]:
    """Clip the gradients' sum over replicas by its global norm.

    Keras clips each replica's part before the sum, which is something else.

    Args:
        gradients: One replica's parts.
        clip_norm: The largest norm of the sum.

    Returns:
        Parts that are equal on all replicas and sum to the clipped gradient:
        the optimizer sums them once more.
    """
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    clipped, _ = tf.clip_by_global_norm(total, clip_norm)
    return [part / context.num_replicas_in_sync for part in clipped]


class _ScheduledRate(keras.optimizers.schedules.LearningRateSchedule):
    """Hand a pure function of the step to a Keras optimizer."""

    def __init__(self, schedule: schedules.Schedule) -> None:
        self._schedule = schedule

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return self._schedule(tf.convert_to_tensor(step))
