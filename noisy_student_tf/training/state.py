"""What changes while training: a model, its averages and an optimizer.

The averages are the variables of a second model of the same architecture, so
that they are evaluated without swapping.

Variables are chosen by the layers they belong to, never by their names.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.training import optimizer

BuildModel = Callable[[], keras.Model]
ChooseTrained = Callable[[keras.Model], Sequence[keras.Variable]]

_NORMALIZATION_LAYERS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSource:
    """How the models of a run are made, under a strategy.

    Attributes:
        build: Returns a built model, called as `model(images, training=True,
            noise_seed=seed, noised=None)`; called twice.
        load_weights: Loads weights into a model. None: as initialized.
        choose_trained: Freezes layers of a model and returns the variables to
            train. None: all trainable ones.
        load_teacher: Returns the model that labels within the step. None:
            the batches hold the labels.
    """

    build: BuildModel
    load_weights: Callable[[keras.Model], None] | None = None
    choose_trained: ChooseTrained | None = None
    load_teacher: BuildModel | None = None


@dataclasses.dataclass(frozen=True)
class TrainState:
    """The variables of a training run.

    Attributes:
        model: The trained model.
        ema_model: The same architecture; its variables are the averages.
        optimizer: Built; its `iterations` are the number of steps made.
        trained: The variables that the optimizer updates.
        decayed: Those of them that the L2 loss holds; none where the
            optimizer decays weights itself.
        schedule: Learning rate of each step.
        teacher: Labels clean images within the step, or None. It never
            trains.
    """

    model: keras.Model
    ema_model: keras.Model
    optimizer: keras.optimizers.Optimizer
    trained: Sequence[keras.Variable]
    decayed: Sequence[keras.Variable]
    schedule: optimizer.Schedule
    teacher: keras.Model | None = None

    @property
    def step(self) -> int:
        """The number of steps made."""
        return int(self.optimizer.iterations.numpy())

    def variables(self) -> dict[str, list[tf.Variable]]:
        """Return all that changes, by part: what a checkpoint holds."""
        parts = {
            "model": self.model.weights,
            "ema_model": self.ema_model.weights,
            "optimizer": self.optimizer.variables,
        }
        return {
            part: [variable.value for variable in variables]
            for part, variables in parts.items()
        }

    def num_bytes(self) -> int:
        """Return the size of what changes: of a checkpoint."""
        return sum(
            variable.shape.num_elements() * variable.dtype.size
            for variables in self.variables().values()
            for variable in variables
        )


def create(
    *,
    settings: configs.OptimizerConfig,
    seed: int,
    strategy: tf.distribute.Strategy,
    source: ModelSource,
    schedule: optimizer.Schedule,
) -> TrainState:
    """Build the models and the optimizer under a strategy.

    Args:
        settings: The optimizer's.
        seed: Of the initial weights, in [0, 2^32).
        strategy: Its scope holds all variables.
        source: Of the models.
        schedule: Learning rate of each step.

    Raises:
        ValueError: The model cannot be trained exactly; see `check_model`.
    """
    # A run killed before its first checkpoint must begin as it did before,
    # whatever else this process has drawn.
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        model, ema_model = source.build(), source.build()
        if source.load_weights:
            source.load_weights(model)
        start_averages(ema_model, model)
        choose = source.choose_trained or (lambda m: m.trainable_variables)
        trained = list(choose(model))
        check_model(model, strategy.num_replicas_in_sync)
        decayed = decayed_variables(model, trained)
        update_rule = _make_optimizer(
            settings, schedule, model, trained, decayed
        )
        teacher = source.load_teacher() if source.load_teacher else None
    if optimizer.decouples_weight_decay(settings):
        decayed = []
    return TrainState(
        model=model,
        ema_model=ema_model,
        optimizer=update_rule,
        trained=trained,
        decayed=decayed,
        schedule=schedule,
        teacher=teacher,
    )


def _make_optimizer(
    settings: configs.OptimizerConfig,
    schedule: optimizer.Schedule,
    model: keras.Model,
    trained: Sequence[keras.Variable],
    decayed: Sequence[keras.Variable],
) -> keras.optimizers.Optimizer:
    shares: list[float] = []
    if settings.layer_decay < 1:
        shares = optimizer.rate_shares(model, trained, settings.layer_decay)
    made = optimizer.make_optimizer(
        settings,
        schedule,
        undecayed=without(trained, decayed),
        shares=shares,
    )
    # Slots made while tracing would be an error under a strategy.
    made.build(trained)
    return made


def ramped_decay(decay: float, num_updates: tf.Tensor) -> tf.Tensor:
    """Return min(decay, (1 + t) / (10 + t)), float32: TensorFlow 1's ramp.

    Args:
        decay: The final decay, in [0, 1).
        num_updates: t, an integer scalar: 0 at the first update.
    """
    updates = tf.cast(num_updates, tf.float32)
    return tf.minimum(decay, (1.0 + updates) / (10.0 + updates))


def start_averages(averages: keras.Model, model: keras.Model) -> None:
    """Set the averages to the model's weights."""
    for average, weight in zip(averages.weights, model.weights, strict=True):
        average.assign(weight)


def update_averages(
    averages: keras.Model, model: keras.Model, decay: tf.Tensor
) -> None:
    """Move the averages towards the model's weights.

    Batch normalization's statistics are averaged too, as in the authors' code.
    Runs in a replica's context; every replica updates its own copy, so that
    nothing travels between devices.

    Args:
        averages: The model whose variables are the averages.
        model: The trained model.
        decay: float32 scalar in [0, 1]: what the averages keep.
    """
    pairs = [
        (average.value, weight.value)
        for average, weight in zip(averages.weights, model.weights, strict=True)
    ]

    def update_all(strategy: tf.distribute.Strategy, decays: tf.Tensor) -> None:
        for average, weight in pairs:
            strategy.extended.update(
                average, _blend, args=(weight, decays), group=False
            )

    context = tf.distribute.get_replica_context()
    if isinstance(context.strategy, tf.distribute.TPUStrategy):
        # On a TPU each replica assigns within its own program.
        update_all(context.strategy, decay)
    else:
        context.merge_call(update_all, args=(decay,))


def _blend(average: tf.Variable, weight: tf.Variable, decay: tf.Tensor) -> None:
    # average -= (1 - decay) * (average - weight), in few operations. In this
    # form a weight that does not move leaves its average untouched.
    tf.raw_ops.ResourceApplyGradientDescent(
        var=average.handle, alpha=1.0 - decay, delta=average - weight
    )


def all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield every layer of a model, however deep, but not the model.

    `model.layers` ends at the first level, and custom layers do not show
    their own; Keras walks its layers by this method as well.
    """
    yield from model._flatten_layers(include_self=False)


def trained_by_fixres(
    model: keras.Model, settings: configs.FixResConfig
) -> list[keras.Variable]:
    """Freeze the layers that stay, and return the variables that train.

    Frozen batch normalization runs in inference mode: its statistics, and
    with them the features below the trained layers, stay as they are.
    Stochastic depth and dropout stay active where the model has them.

    Args:
        model: Has the attributes blocks, head_norm and classifier.
        settings: `trainable` names the choice, `frozen_blocks` its depth.

    Returns:
        The trainable variables, in the model's order.

    Raises:
        ValueError: More blocks are to be frozen than the model has.
    """
    if settings.trainable == "classifier_and_last_norm":
        # FixRes itself trains these two.
        trained = (model.head_norm, model.classifier)
        frozen = [layer for layer in model.layers if layer not in trained]
        for layer in frozen:
            layer.trainable = False
        return list(model.trainable_variables)
    return after_frozen_blocks(
        model, settings.frozen_blocks, flag="fixres.frozen_blocks"
    )


def after_frozen_blocks(
    model: keras.Model, num_frozen: int, *, flag: str
) -> list[keras.Variable]:
    """Freeze the stem and the first blocks, and return what trains.

    Args:
        model: Has the attribute blocks.
        num_frozen: Blocks that stay.
        flag: That says so, for errors.

    Returns:
        The trainable variables, in the model's order.

    Raises:
        ValueError: The model has fewer blocks.
    """
    num_blocks = len(model.blocks)
    if num_frozen > num_blocks:
        raise ValueError(
            f"--{flag}={num_frozen}: the model has {num_blocks} blocks; "
            f"accepted is 0 to {num_blocks}."
        )
    # Of the stem, whatever it is, too.
    stem = model.layers[: model.layers.index(model.blocks[0])]
    for layer in [*stem, *list(model.blocks)[:num_frozen]]:
        layer.trainable = False
    return list(model.trainable_variables)


def decayed_variables(
    model: keras.Model, trained: Sequence[keras.Variable]
) -> list[keras.Variable]:
    """Return the trained variables of layers that do not normalize.

    Biases are included, as in the authors' code.
    """
    normalizing = [
        variable
        for layer in all_layers(model)
        if isinstance(layer, _NORMALIZATION_LAYERS)
        for variable in layer.variables
    ]
    return without(trained, normalizing)


def without(
    variables: Sequence[keras.Variable], others: Sequence[keras.Variable]
) -> list[keras.Variable]:
    """Return the variables that are not among the others."""
    spared = set(map(id, others))
    return [variable for variable in variables if id(variable) not in spared]


def check_model(model: keras.Model, num_replicas: int) -> None:
    """Refuse a model that would silently train wrongly.

    Raises:
        ValueError: Layers draw from generators with a state, which replicas
            share and checkpoints miss; or batch statistics stay local to a
            replica, which makes the averages drift apart.
    """
    saved = {id(variable) for variable in model.weights}
    if any(id(variable) not in saved for variable in model.variables):
        raise ValueError(
            f"The model {model.name} holds seed generators "
            "(keras.layers.Dropout and its like): replicas would draw the "
            "same noise, and a resumed run another. Draw from the noise_seed "
            "argument of call by stateless operations."
        )
    if num_replicas == 1:
        return
    for layer in all_layers(model):
        if (
            isinstance(layer, keras.layers.BatchNormalization)
            and layer.trainable
            and not layer.synchronized
        ):
            raise ValueError(
                f"Layer {layer.path} normalizes each of {num_replicas} "
                "replicas by itself, and only the first one's statistics "
                "would be kept. Build the model with synchronized=True."
            )
