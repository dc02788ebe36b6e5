"""One step of training, and many of them in one call of the device."""

import dataclasses
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.devices import replicas, watching
from noisy_student_tf.training import losses, optimizer, state

Batch = dict[str, tf.Tensor]

# Beyond the number of any model's layers, which draw from smaller ones.
_MASK_STREAM = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSettings:
    """What a step computes.

    Attributes:
        config: Losses, optimizer, and what of a batch counts and is noised.
        unlabeled_batch_size: Unlabeled images of the global batch, or 0.
        seed: Of the noise, in [0, 2^31).
        class_weights: Of labeled images, one a class; empty: all are 1.
    """

    config: configs.Config
    unlabeled_batch_size: int
    seed: int
    class_weights: tuple[float, ...] = ()

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of a step's metrics, in order."""
        return losses.metric_names(self.unlabeled_batch_size)


def noise_seed(
    seed: int,
    step: tf.Tensor,
    replica_id: tf.Tensor,
    part: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return the seed of one replica's noise in one step, int32 [2].

    It depends on nothing else: replicas differ, and a resumed run repeats.
    The parts of an accumulated batch differ too; None is for a whole one.
    """
    fold_in = tf.random.experimental.stateless_fold_in
    root = tf.constant([seed, 0], tf.int32)
    step_seed = fold_in(root, tf.cast(step, tf.int32))
    own_seed = fold_in(step_seed, tf.cast(replica_id, tf.int32))
    return own_seed if part is None else fold_in(own_seed, part)


def make_train_steps(
    train_state: state.TrainState,
    settings: StepSettings,
    strategy: tf.distribute.Strategy,
    marks: tf.Variable | None = None,
) -> watching.TrainSteps:
    """Return a function that makes n steps in one call of the device.

    It returns every step's metrics, so that the step at which a loss ceased
    to be finite is known, and the time it waited for the input, in seconds.
    `marks`, an int64 scalar, grows by one whenever it asks for input and
    again when it has it: it is odd while it waits.
    """
    make_step = _step_maker(train_state, settings, strategy)
    # An accelerator's next step is put in line behind one that has not ended.
    is_queued = _is_tpu(strategy) or replicas.has_accelerator()

    def mark() -> list[tf.Tensor]:
        return [] if marks is None else [marks.assign_add(1)]

    # No stated signature: a strategy's iterators have no public type to state.
    @tf.function
    def train_steps(
        iterator: Iterator[Batch], num_steps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        first_step = tf.cast(train_state.optimizer.iterations.value, tf.int32)
        width = len(settings.metric_names)
        rows = tf.TensorArray(tf.float32, size=num_steps, element_shape=[width])
        row = tf.zeros([width])
        waited_seconds = tf.constant(0.0, tf.float64)
        for i in tf.range(num_steps):
            # Batches that may be asked for ahead of the device.
            tf.autograph.experimental.set_loop_options(parallel_iterations=2)
            # Explicit order: a step's end, or in line the last batch's
            # arrival; the clock; the input; the clock.
            before = waited_seconds if is_queued else row
            with tf.control_dependencies([before]):
                asked, marked = _clock(settings), mark()
            with tf.control_dependencies([asked, *marked]):
                batch = next(iterator)
            arrived = strategy.experimental_local_results(batch["labels"])
            with tf.control_dependencies(list(arrived)):
                waited_seconds += _clock(settings) - asked
                mark()
            row = make_step(batch, first_step + i)
            rows = rows.write(i, row)
        return rows.stack(), waited_seconds  # [num_steps, num_metrics], []

    return train_steps


def _clock(settings: StepSettings) -> tf.Tensor:
    # There is no deterministic operation for it.
    if settings.config.runtime.deterministic:
        return tf.constant(0.0, tf.float64)
    return tf.timestamp()


def compute_gradients(
    train_state: state.TrainState,
    settings: StepSettings,
    batch: Batch,
    seed: tf.Tensor,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Run one replica's share of the batch, or a part, forward and backward.

    Labeled and unlabeled images go through the model together, so that batch
    normalization sees both.

    Args:
        train_state: The model and its variables.
        settings: What to compute.
        batch: labeled_images uint8 [labeled, height, width, 3] in [0, 255],
            labels int32 [labeled], where images are mixed also
            label_probabilities float32 [labeled, num_classes], which the loss
            takes instead, and for a student unlabeled_images uint8
            [unlabeled, height, width, 3] and soft_labels float32 [unlabeled,
            num_classes]; with a teacher in the state also their clean twins,
            clean_unlabeled_images uint8 [unlabeled, its height, its width,
            3], whose labels then take the place of soft_labels.
        seed: Of the model's noise, int32 [2].

    Returns:
        The gradients of the trained variables, and the metrics, float32
        [num_metrics]; both are to be summed over the replicas.
    """
    trained = [variable.value for variable in train_state.trained]
    images = [batch["labeled_images"]]
    if settings.unlabeled_batch_size:
        images.append(batch["unlabeled_images"])
        if train_state.teacher is not None:
            labels = online_labels(train_state.teacher, batch)
            batch = batch | {"soft_labels": labels}
    with tf.GradientTape() as tape:
        logits = train_state.model(
            tf.concat(images, axis=0),  # [labeled + unlabeled, h, w, 3]
            training=True,
            noise_seed=seed,
            noised=_noised(settings, images),
        )
        logits = tf.cast(logits, tf.float32)
        metrics = _metrics(train_state, settings, batch, logits, seed)
    gradients = tape.gradient(
        metrics["loss"],
        trained,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return gradients, tf.stack([metrics[n] for n in settings.metric_names])


def _metrics(
    train_state: state.TrainState,
    settings: StepSettings,
    batch: Batch,
    logits: tf.Tensor,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Return one replica's share of the loss, of its parts and the others."""
    training = settings.config.training
    context = tf.distribute.get_replica_context()
    metrics = losses.of_batch(
        settings.config,
        batch,
        logits,
        unlabeled_batch_size=settings.unlabeled_batch_size,
        is_kept=_draw_kept(
            seed, batch["labels"].shape[0], training.labeled_keep_probability
        ),
        class_weights=settings.class_weights,
    )
    # Every replica, and every part of its batch, holds the same weights and
    # adds its share of the sum.
    metrics["loss"] += (
        settings.config.optimizer.weight_decay
        * losses.l2_loss(train_state.decayed)
        / (context.num_replicas_in_sync * training.accumulation_steps)
    )
    return metrics


def online_labels(teacher: keras.Model, batch: Batch) -> tf.Tensor:
    """Return the teacher's labels of the clean unlabeled images.

    Returns:
        Probabilities, float32 [unlabeled, num_classes]. No gradient flows
        through them.
    """
    logits = teacher(batch["clean_unlabeled_images"], training=False)
    return tf.stop_gradient(tf.nn.softmax(tf.cast(logits, tf.float32)))


def _noised(
    settings: StepSettings, images: list[tf.Tensor]
) -> tf.Tensor | None:
    """Return which images the model noises, bool [images]; None for all."""
    if settings.config.training.noise_unlabeled or len(images) == 1:
        return None
    num_labeled, num_unlabeled = (part.shape[0] for part in images)
    return tf.constant([True] * num_labeled + [False] * num_unlabeled)


def _draw_kept(
    seed: tf.Tensor, num_images: int, keep_probability: float
) -> tf.Tensor | None:
    """Return 1 for images whose loss counts, else 0: float32; None for all."""
    if keep_probability == 1:
        return None
    fold_in = tf.random.experimental.stateless_fold_in
    drawn = tf.random.stateless_uniform(
        [num_images], fold_in(seed, _MASK_STREAM), alg="philox"
    )
    return tf.cast(drawn < keep_probability, tf.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class ReplicaStep:
    """What a replica does in a step, in its context.

    Attributes:
        train_state: The model and its variables.
        settings: What to compute.
        is_tpu: Metrics are summed within the program; elsewhere each replica
            has its own share.
    """

    train_state: state.TrainState
    settings: StepSettings
    is_tpu: bool

    @property
    def num_parts(self) -> int:
        """Parts of a batch that are computed one after the other."""
        return self.settings.config.training.accumulation_steps

    def shapes(self) -> list[tf.TensorShape]:
        """Return the shapes of what `compute` returns."""
        shapes = [variable.shape for variable in self.train_state.trained]
        return [*shapes, tf.TensorShape([len(self.settings.metric_names)])]

    def compute(
        self, part: tf.Tensor | None, batch: Batch, step: tf.Tensor
    ) -> list[tf.Tensor]:
        """Return the gradients and metrics of a part, or of the whole batch."""
        context = tf.distribute.get_replica_context()
        replica_id = context.replica_id_in_sync_group
        seed = noise_seed(self.settings.seed, step, replica_id, part)
        if part is not None:
            # Consecutive rows; the number of parts divides that of rows.
            batch = {
                name: tf.reshape(
                    tensor, [self.num_parts, -1, *tensor.shape[1:]]
                )[part]
                for name, tensor in batch.items()
            }
        gradients, metrics = compute_gradients(
            self.train_state, self.settings, batch, seed
        )
        return [*gradients, metrics]

    def compute_and_apply(self, batch: Batch, step: tf.Tensor) -> tf.Tensor:
        """Make a step of the whole batch; return the metrics."""
        *gradients, metrics = self.compute(None, batch, step)
        self.apply(gradients, step)
        return self._summed(metrics)

    def accumulate_and_apply(self, batch: Batch, step: tf.Tensor) -> tf.Tensor:
        """Make a step of all parts; return the metrics."""
        *gradients, metrics = replicas.sum_parts_within_replica(
            lambda part: self.compute(part, batch, step),
            num_parts=self.num_parts,
            shapes=self.shapes(),
        )
        self.apply(gradients, step)
        return self._summed(metrics)

    def apply(self, gradients: list[tf.Tensor], step: tf.Tensor) -> None:
        """Update the weights and their averages."""
        rules = self.settings.config.optimizer
        if rules.global_clip_norm:
            gradients = optimizer.clip_across_replicas(
                gradients, rules.global_clip_norm
            )
        trained = self.train_state
        trained.optimizer.apply(gradients, trained.trained)
        decay = state.ramped_decay(rules.ema_decay, step)
        state.update_averages(trained.ema_model, trained.model, decay)

    def _summed(self, metrics: tf.Tensor) -> tf.Tensor:
        if not self.is_tpu:
            return metrics
        return tf.distribute.get_replica_context().all_reduce("SUM", metrics)


def _step_maker(
    train_state: state.TrainState,
    settings: StepSettings,
    strategy: tf.distribute.Strategy,
) -> Callable[[Batch, tf.Tensor], tf.Tensor]:
    """Return a function that makes a step and returns all replicas' metrics."""
    replica = ReplicaStep(train_state, settings, _is_tpu(strategy))

    def all_of(metrics: tf.Tensor) -> tf.Tensor:
        # Sums within a TPU's program spare its host a copy from every core.
        if replica.is_tpu:
            return strategy.experimental_local_results(metrics)[0]
        return strategy.reduce("SUM", metrics, axis=None)

    # No Python branch depends on data here; looking for one takes seconds.
    @tf.autograph.experimental.do_not_convert
    def make_step(batch: Batch, step: tf.Tensor) -> tf.Tensor:
        if replica.num_parts == 1:
            make = replica.compute_and_apply
            return all_of(strategy.run(make, args=(batch, step)))
        if replica.is_tpu:
            make = replica.accumulate_and_apply
            return all_of(strategy.run(make, args=(batch, step)))
        *gradients, metrics = replicas.sum_parts_around_replicas(
            strategy,
            replica.compute,
            (batch, step),
            num_parts=replica.num_parts,
            shapes=replica.shapes(),
        )
        strategy.run(replica.apply, args=(gradients, step))
        return all_of(metrics)

    return make_step


def _is_tpu(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.TPUStrategy)
