import keras
import pytest
import tensorflow as tf

from noisy_student_tf.model import architectures
from noisy_student_tf.training import schedules, state
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
        schedule=schedules.constant(0.1),
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
    assert state.seed_of(0, "teacher") != state.seed_of(0, "student_1")
    assert state.seed_of(0, "teacher") != state.seed_of(1, "teacher")


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
        layer.name: state.rate_shares(model, layer.trainable_variables, 0.5)[0]
        for layer in model.layers
    }
    blocks = {f"block_{i}": 0.5 ** (8 - i) for i in range(7)}
    ends = {"classifier": 1.0, "head_norm": 0.5, "head_conv": 0.5}
    stem = {"stem_norm": 0.5**9, "stem_conv": 0.5**9}
    assert by_layer == blocks | ends | stem
