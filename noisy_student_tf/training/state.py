"""What changes while training: two models and an optimizer.

Variables are chosen by the layers they belong to, never by their names.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.training import ema, optimizer, schedules

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
    schedule: schedules.Schedule
    teacher: keras.Model | None = None

    @property
    def step(self) -> int:
        """The number of steps made."""
        return int(self.optimizer.iterations.numpy())


def create(
    *,
    settings: configs.OptimizerConfig,
    seed: int,
    strategy: tf.distribute.Strategy,
    source: ModelSource,
    schedule: schedules.Schedule,
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
        ema.start(ema_model, model)
        choose = source.choose_trained or (lambda m: m.trainable_variables)
        trained = list(choose(model))
        check_model(model, strategy.num_replicas_in_sync)
        decayed = decayed_variables(model, trained)
        update_rule = optimizer.make_optimizer(
            settings,
            schedule,
            undecayed=without(trained, decayed),
            shares=rate_shares(model, trained, settings.layer_decay)
            if settings.layer_decay < 1
            else (),
        )
        # Slots made while tracing would be an error under a strategy.
        update_rule.build(trained)
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


def seed_of(seed: int, title: str) -> int:
    """Return a seed in [0, 2^32) for one of a run's models."""
    digest = hashlib.blake2b(f"{seed}/{title}".encode(), digest_size=4)
    return int.from_bytes(digest.digest(), "little")


def all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield every layer of a model, however deep, but not the model.

    `model.layers` ends at the first level, and custom layers do not show
    their own; Keras walks its layers by this method as well.
    """
    yield from model._flatten_layers(include_self=False)


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
