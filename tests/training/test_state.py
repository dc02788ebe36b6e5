import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.model import architectures
from noisy_student_tf.training import loop, optimizer, progress, state
from tests.model import small_specs
from tests.training import tiny


class WithKerasDropout(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)
        self.dropout = keras.layers.Dropout(0.5)

    def call(self, x, training=False):
        return self.dropout(self.dense(x), training=training)


def create(**options):
    return state.create(
        settings=tiny.make_config().optimizer,
        seed=1,
        strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
        source=state.ModelSource(build=tiny.build, **options),
        schedule=optimizer.constant(0.1),
    )


def test_l2_holds_every_kernel_and_bias_outside_normalization():
    model = tiny.build()
    decayed = state.decayed_variables(model, model.trainable_variables)
    # Stem and head kernels, two blocks' kernels and biases, the classifier's.
    assert len(decayed) == 2 + 2 * 2 + 2
    # Beside them: gamma and beta of four normalizations.
    assert len(model.trainable_variables) == 8 + 4 * 2


def test_l2_holds_the_published_variables_of_b0():
    model = architectures.build(small_specs.make_spec(width=0.1, depth=1.0))
    decayed = state.decayed_variables(model, model.trainable_variables)
    # Kernels of 16 blocks: 15 expand, all others are depthwise, squeeze,
    # excite and project; squeeze and excite have biases. Stem, head and
    # classifier with its bias are beside them.
    assert len(decayed) == 15 + 16 * 4 + 16 * 2 + 1 + 1 + 2
    # The authors leave out what is named batch_normalization.
    assert len(model.trainable_variables) == len(decayed) + 2 * 49


def test_averages_start_as_the_loaded_weights():
    made = create(
        load_weights=lambda model: model.stem_conv.kernel.assign(
            tf.ones_like(model.stem_conv.kernel)
        )
    )
    assert float(tf.reduce_min(made.ema_model.stem_conv.kernel)) == 1.0
    assert made.step == 0


def test_initial_weights_depend_on_the_seed_alone():
    first = tiny.weights_of(create().model)
    keras.random.normal([3])
    for a, b in zip(first, tiny.weights_of(create().model), strict=True):
        assert (a == b).all()
    assert progress.seed_of(0, "teacher") != progress.seed_of(0, "student_1")
    assert progress.seed_of(0, "teacher") != progress.seed_of(1, "teacher")


def test_stateful_noise_is_refused():
    model = WithKerasDropout()
    model(tf.zeros([1, 2]))
    with pytest.raises(ValueError, match="holds seed generators"):
        state.check_model(model, num_replicas=1)


def test_statistics_local_to_a_replica_are_refused():
    state.check_model(tiny.build(), num_replicas=1)
    state.check_model(tiny.build(synchronized=True), num_replicas=2)
    with pytest.raises(ValueError, match="synchronized=True"):
        state.check_model(tiny.build(), num_replicas=2)


def test_rates_fall_from_the_classifier_to_the_stem():
    model = architectures.build(small_specs.make_spec(width=0.1, depth=0.1))
    by_layer = {
        layer.name: optimizer.rate_shares(
            model, layer.trainable_variables, 0.5
        )[0]
        for layer in model.layers
    }
    blocks = {f"block_{i}": 0.5 ** (8 - i) for i in range(7)}
    ends = {"classifier": 1.0, "head_norm": 0.5, "head_conv": 0.5}
    stem = {"stem_norm": 0.5**9, "stem_conv": 0.5**9}
    assert by_layer == blocks | ends | stem


def fine_tune(directory, settings):
    """Return the weights before and after two steps, by their paths."""
    configuration = tiny.make_config(**{"optimizer.schedule": "constant"})
    start = tiny.build()
    for variable in start.weights:
        variable.assign(variable + 0.01)

    def load(model):
        model.set_weights(start.get_weights())

    task = progress.Task(
        config=configuration,
        durations=tiny.make_durations(
            configuration, total_steps=2, has_unlabeled=False
        ),
        directory=str(directory),
        strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
        models=state.ModelSource(
            build=tiny.build,
            load_weights=load,
            choose_trained=lambda model: state.trained_by_fixres(
                model, settings
            ),
        ),
        make_stream=functools.partial(tiny.make_stream, num_unlabeled=0),
        evaluate=tiny.evaluate,
        title="fixres",
    )
    return start, loop.train(task)


def moved(start, model):
    """Return the layers of which a variable changed."""
    names = set()
    for name in vars_of(model):
        before, after = vars_of(start)[name], vars_of(model)[name]
        if not all(
            np.array_equal(a, b)
            for a, b in zip(before.weights, after.weights, strict=True)
        ):
            names.add(name)
    return names


def vars_of(model):
    layers = {
        name: getattr(model, name)
        for name in (
            "stem_conv",
            "stem_norm",
            "head_conv",
            "head_norm",
            "classifier",
        )
    }
    return layers | {f"block_{i}": b for i, b in enumerate(model.blocks)}


def test_classifier_and_last_norm_alone_move(tmp_path):
    start, result = fine_tune(tmp_path, configs.FixResConfig())
    assert moved(start, result.model) == {"head_norm", "classifier"}
    assert moved(start, result.ema_model) == {"head_norm", "classifier"}


def test_stem_and_first_blocks_stay_with_their_statistics(tmp_path):
    settings = configs.FixResConfig(
        trainable="after_frozen_blocks", frozen_blocks=1
    )
    start, result = fine_tune(tmp_path, settings)
    assert moved(start, result.model) == {
        "block_1",
        "head_conv",
        "head_norm",
        "classifier",
    }


def test_variables_are_chosen_by_layer():
    names = [
        variable.name
        for variable in state.trained_by_fixres(
            tiny.build(), configs.FixResConfig()
        )
    ]
    assert sorted(names) == ["beta", "bias", "gamma", "kernel"]


def test_more_frozen_blocks_than_there_are_is_an_error():
    settings = configs.FixResConfig(
        trainable="after_frozen_blocks", frozen_blocks=3
    )
    with pytest.raises(ValueError, match="frozen_blocks=3: the model has 2"):
        state.trained_by_fixres(tiny.build(), settings)


def test_stem_and_first_blocks_keep_their_weights():
    model = architectures.build(small_specs.make_spec(width=0.1, depth=0.1))
    trained = state.after_frozen_blocks(model, 5, flag="training.frozen_blocks")
    expected = [
        *model.blocks[5:],
        model.head_conv,
        model.head_norm,
        model.classifier,
    ]
    assert set(map(id, trained)) == {
        id(variable)
        for layer in expected
        for variable in layer.trainable_variables
    }
