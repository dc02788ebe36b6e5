"""The optimizers, and their learning rates as pure functions of the step.

RMSProp is as TensorFlow 1 computes it. It and SGD update a variable in one
operation of TensorFlow, where Keras makes about ten: with a few hundred small
variables those are a good part of a step.
"""

import math
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from noisy_student_tf import configs

# An integer scalar, the number of updates made so far -> float32 scalar.
Schedule = Callable[[tf.Tensor], tf.Tensor]

# The published rates are per 256 labeled images of the global batch.
_REFERENCE_BATCH_SIZE = 256


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
    schedule: Schedule,
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

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return self._schedule(tf.convert_to_tensor(step))


def learning_rate(
    config: configs.Config, *, total_steps: int, steps_per_epoch: float
) -> Schedule:
    """Return the configured schedule: a warm-up, then the decay.

    Decays count from step 0, not from the end of the warm-up, as in the
    authors' code. The peak is linear in the labeled images of a batch whose
    loss counts; unlabeled ones do not, as in the authors' code.

    Args:
        config: Names the schedule, its rate per 256 labeled images and its
            lengths in labeled epochs.
        total_steps: Length of the run; cosine reaches zero at its end.
        steps_per_epoch: Steps per pass over the labeled images, fractional.
    """
    optimizer = config.optimizer
    kept = config.training.kept_labeled_batch_size
    peak = optimizer.base_learning_rate * kept / _REFERENCE_BATCH_SIZE
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
    warmup_steps = max(
        int(optimizer.warmup_epochs * steps_per_epoch),
        int(optimizer.warmup_share * total_steps),
    )
    return with_warmup(decayed, peak=peak, warmup_steps=warmup_steps)


def last_base_learning_rate(
    config: configs.Config, *, total_steps: int, steps_per_epoch: float
) -> float:
    """Return the rate of a run's last step, per 256 labeled images."""
    schedule = learning_rate(
        config, total_steps=total_steps, steps_per_epoch=steps_per_epoch
    )
    kept = config.training.kept_labeled_batch_size
    last = float(schedule(tf.constant(total_steps - 1)))
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


def rate_shares(
    model: keras.Model, trained: Sequence[keras.Variable], layer_decay: float
) -> list[float]:
    """Return the share of the learning rate that each variable gets.

    The classifier gets 1, what is between the last block and it
    `layer_decay`, the last block its square, and so on to the stem.

    Args:
        model: Has the attributes blocks and classifier.
        trained: Its variables, in any order.
        layer_decay: In (0, 1].
    """
    layers = list(model.layers)
    first, last = (layers.index(model.blocks[place]) for place in (0, -1))
    shares = {}
    for place, layer in enumerate(layers):
        distance = 1 + min(max(last + 1 - place, 0), last + 2 - first)
        if layer is model.classifier:
            distance = 0
        for variable in layer.variables:
            shares[id(variable)] = layer_decay**distance
    return [shares[id(variable)] for variable in trained]
