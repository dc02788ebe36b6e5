import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.model import architectures, normalization
from tests import strategies

GENERATOR = np.random.default_rng(0)
# Far from zero, where careless variances cancel.
INPUTS = (40 + 3 * GENERATOR.normal(size=(8, 2, 2, 3))).astype(np.float32)


def make_norm(synchronized=False, **options):
    norm = normalization.make_norm(
        3, name="norm", momentum=0.9, synchronized=synchronized, **options
    )
    norm.gamma.assign([1.0, 2.0, 3.0])
    norm.beta.assign([0.0, 0.5, -1.0])
    return norm


def expected_outputs(inputs):
    mean, variance = inputs.mean((0, 1, 2)), inputs.var((0, 1, 2))
    normalized = (inputs - mean) / np.sqrt(variance + 1e-3)
    return normalized * [1.0, 2.0, 3.0] + [0.0, 0.5, -1.0]


def expected_averages(inputs):
    unbiased = inputs.var((0, 1, 2), ddof=1)
    return 0.1 * inputs.mean((0, 1, 2)), 0.9 + 0.1 * unbiased


def test_batch_moments_and_moving_averages():
    norm = make_norm()
    outputs = norm(INPUTS, training=True)
    np.testing.assert_allclose(outputs, expected_outputs(INPUTS), atol=1e-4)
    mean, variance = expected_averages(INPUTS)
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-5)


def test_inference_uses_the_moving_averages():
    norm = make_norm()
    norm.moving_mean.assign([40.0, 41.0, 42.0])
    norm.moving_variance.assign([9.0, 4.0, 1.0])
    outputs = norm(INPUTS)
    deviation = np.sqrt(np.array([9.0, 4.0, 1.0]) + 1e-3)
    expected = (INPUTS - [40.0, 41.0, 42.0]) / deviation
    expected = expected * [1.0, 2.0, 3.0] + [0.0, 0.5, -1.0]
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


def test_frozen_layer_leaves_its_statistics_alone():
    norm = make_norm()
    norm.trainable = False
    outputs = norm(INPUTS, training=True)
    np.testing.assert_array_equal(outputs, norm(INPUTS))
    np.testing.assert_array_equal(norm.moving_mean, [0.0, 0.0, 0.0])


@pytest.mark.parametrize("training", [True, False])
def test_gradients_equal_those_of_keras(training):
    norm = make_norm()
    reference = keras.layers.BatchNormalization(epsilon=1e-3)
    reference.build((None, None, None, 3))
    for mine, other in zip(norm.variables, reference.variables, strict=True):
        other.assign(mine)
    weights = GENERATOR.normal(size=INPUTS.shape).astype(np.float32)

    def gradients(layer):
        inputs = tf.constant(INPUTS)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(layer(inputs, training=training) * weights)
        return tape.gradient(
            loss, [inputs, layer.gamma.value, layer.beta.value]
        )

    for mine, other in zip(gradients(norm), gradients(reference), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_synchronized_moments_are_those_of_the_global_batch(dtype):
    strategy = strategies.mirrored(2)
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        norm = make_norm(synchronized=True, dtype=dtype)
    weights = GENERATOR.normal(size=INPUTS.shape).astype(np.float32)
    halves = [tf.constant(INPUTS[:4]), tf.constant(INPUTS[4:])]
    weight_halves = [tf.constant(weights[:4]), tf.constant(weights[4:])]

    def distribute(values):
        return strategy.experimental_distribute_values_from_function(
            lambda context: values[context.replica_id_in_sync_group]
        )

    @tf.function
    def step(inputs, weights):
        def replica_step(inputs, weights):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = tf.cast(norm(inputs, training=True), tf.float32)
                loss = tf.reduce_sum(outputs * weights)
            return outputs, tape.gradient(loss, inputs)

        return strategy.run(replica_step, (inputs, weights))

    outputs, gradients = (
        np.concatenate([part.numpy() for part in values.values])
        for values in step(distribute(halves), distribute(weight_halves))
    )
    tolerance = 1e-4 if dtype == "float32" else 0.3
    np.testing.assert_allclose(
        outputs, expected_outputs(INPUTS), atol=tolerance
    )
    if dtype == "float32":
        single = make_norm()
        inputs = tf.constant(INPUTS)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(single(inputs, training=True) * weights)
        np.testing.assert_allclose(
            gradients, tape.gradient(loss, inputs), atol=1e-3
        )
    mean, variance = expected_averages(INPUTS)
    tolerance = 1e-5 if dtype == "float32" else 0.01
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=tolerance)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=0.01)


def test_masks_are_refused():
    with pytest.raises(ValueError, match="masks are not supported"):
        make_norm()(INPUTS, mask=np.ones((8, 2, 2), bool))


def test_groups_of_replicas_normalize_by_themselves():
    # Four replicas in groups of two; the second group's inputs are shifted
    # and wider, and the groups' moments are worked out by numpy.
    strategy = strategies.mirrored(4)
    with strategy.scope():
        norm = make_norm(synchronized=True, group_size=2)
    groups = [INPUTS, 2 * INPUTS - 10]
    parts = tf.constant(np.stack(groups).reshape(4, 4, 2, 2, 3))
    weights = GENERATOR.normal(size=parts.shape).astype(np.float32)

    @tf.function
    def step():
        def replica_step():
            context = tf.distribute.get_replica_context()
            index = context.replica_id_in_sync_group
            inputs = parts[index]
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = norm(inputs, training=True)
                loss = tf.reduce_sum(outputs * tf.constant(weights)[index])
            return outputs, tape.gradient(loss, inputs)

        return strategy.run(replica_step)

    outputs, gradients = (
        np.concatenate([part.numpy() for part in values.values])
        for values in step()
    )
    for index, group in enumerate(groups):
        rows = slice(8 * index, 8 * index + 8)
        np.testing.assert_allclose(
            outputs[rows], expected_outputs(group), atol=1e-4
        )
        single, inputs = make_norm(), tf.constant(group)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            weighted = (
                single(inputs, training=True)
                * weights.reshape(2, *group.shape)[index]
            )
        np.testing.assert_allclose(
            gradients[rows], tape.gradient(weighted, inputs), atol=1e-3
        )
    averages = [expected_averages(group) for group in groups]
    for variable, values in zip(
        (norm.moving_mean, norm.moving_variance),
        zip(*averages, strict=True),
        strict=True,
    ):
        for part in variable.value.values:
            # Squares of 40 and 70 are rounded, the moving mean being 0.
            np.testing.assert_allclose(
                part, (values[0] + values[1]) / 2, rtol=1e-4
            )


class Context:
    """A replica's context, as far as sums need one."""

    def __init__(self, strategy=None, num_replicas=1, exchange=tf.identity):
        self.strategy = strategy
        self.num_replicas_in_sync = num_replicas
        self.replica_id_in_sync_group = tf.constant(0)
        self.exchanged = []
        self._exchange = exchange

    def all_reduce(self, operation, values):
        self.exchanged.append(values.shape.as_list())
        return self._exchange(values)


def normalize(inputs, context, size=1, shift=0.0):
    channels = inputs.shape[-1]
    return normalization.normalize(
        inputs,
        tf.ones([channels]),
        tf.zeros([channels]),
        shift=tf.fill([channels], shift),
        epsilon=1e-3,
        groups=normalization.ReplicaGroups(context, size),
    )


def test_moments_far_from_zero_do_not_cancel_beside_the_moving_mean():
    inputs = tf.constant(100 * INPUTS)
    inputs = 4000 + (inputs - tf.reduce_mean(inputs)) / 100
    exact = tf.cast(inputs, tf.float64).numpy()
    _, mean, variance = normalize(inputs, Context(), shift=3999.0)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
    expected = exact.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(variance, expected, rtol=1e-4)
    _, _, careless = normalize(inputs, Context(), shift=0.0)
    assert np.abs(careless / expected - 1).max() > 1e-3


def test_one_exchange_forward_and_one_backward():
    context = Context()
    inputs = tf.constant(INPUTS)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs, *_ = normalize(inputs, context)
    # Sums, sums of squares and the count; two sums.
    assert context.exchanged == [[7]]
    tape.gradient(outputs, inputs)
    assert context.exchanged == [[7], [6]]


def test_outputs_and_gradients_keep_the_inputs_type():
    inputs = tf.cast(tf.constant(INPUTS), tf.bfloat16)

    @tf.function
    def gradient(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, *_ = normalize(inputs, Context())
        return outputs, tape.gradient(outputs, inputs)

    outputs, found = gradient(inputs)
    assert outputs.dtype == found.dtype == tf.bfloat16


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # Forward, the statistics over all, and backward.
        (2, [[[0, 1], [2, 3]], [[0, 1, 2, 3]], [[0, 1], [2, 3]]]),
        (1, [[[0], [1], [2], [3]], [[0, 1, 2, 3]], [[0], [1], [2], [3]]]),
        # One group is the strategy's own sum.
        (4, []),
    ],
)
def test_cores_of_a_tpu_sum_within_their_groups(size, expected):
    context = Context(strategies.tpu(4), num_replicas=4)

    @tf.function
    def gradient(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, *latest = normalize(inputs, context, size=size)
        return tape.gradient(outputs, inputs), latest

    graph = gradient.get_concrete_function(tf.constant(INPUTS)).graph
    found = [
        tf.get_static_value(operation.inputs[1]).tolist()
        for operation in graph.get_operations()
        if operation.type == "CrossReplicaSum"
    ]
    assert found == expected
    assert len(context.exchanged) == (0 if expected else 2)


@pytest.mark.parametrize(
    ("num_replicas", "group_size", "expected"),
    [
        # The published rule; the paper's 2,048 cores make 8 groups.
        (2048, 0, 256),
        (128, 0, 16),
        (32, 0, 8),
        # Up to 8 are one group; 12 cannot be shared by groups of 8.
        (8, 0, 8),
        (1, 0, 1),
        (12, 0, 12),
        (4, 2, 2),
        (4, 1, 1),
        (2, 8, 2),
    ],
)
def test_size_of_groups(num_replicas, group_size, expected):
    size = normalization.replicas_per_group(num_replicas, group_size)
    assert size == expected


def test_groups_that_do_not_divide_the_replicas_are_refused():
    with pytest.raises(ValueError, match=r"group_size=3.*4 replicas"):
        normalization.replicas_per_group(4, 3)


def test_published_momentum_and_epsilon_reach_every_layer():
    model_config = configs.ModelConfig(width=0.25, depth=0.25, resolution=16)
    spec = architectures.make_spec(model_config, num_classes=3, class_names=())
    model = architectures.build(spec, batch_norm_group_size=4)
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, normalization.BatchNormalization)
    ]
    assert len(norms) == 2 + 3 * len(model.blocks) - 1
    for norm in norms:
        assert (norm.momentum, norm.epsilon) == (0.99, 1e-3)
        assert norm.group_size == 4


@pytest.mark.usefixtures("bfloat16_kernels")
@pytest.mark.parametrize("training", [True, False])
def test_statistics_of_bfloat16_inputs_are_computed_in_float32(training):
    # 2,048 values around 40: in bfloat16 a sum stops growing at 256 times a
    # value, and the spacing of numbers near 40 is 0.25.
    inputs = tf.constant(40 + GENERATOR.normal(size=[32, 8, 8, 3]))
    inputs = tf.cast(inputs, tf.bfloat16)
    exact = tf.cast(inputs, tf.float64).numpy()
    norm = make_norm(dtype="mixed_bfloat16")
    assert {variable.dtype for variable in norm.variables} == {"float32"}
    if not training:
        norm.moving_mean.assign(exact.mean((0, 1, 2)))
        norm.moving_variance.assign(exact.var((0, 1, 2)))
    outputs = norm(inputs, training=training)
    assert outputs.dtype == tf.bfloat16
    # Rounded once, at the end: 8 bits.
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float32), expected_outputs(exact), rtol=2**-8
    )
    if training:
        mean, variance = expected_averages(exact)
        np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-5)
        np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-4)


def test_frozen_statistics_leave_scale_and_shift_to_train():
    norm = make_norm(frozen=True)
    norm.moving_mean.assign([40.0, 41.0, 42.0])
    with tf.GradientTape() as tape:
        outputs = norm(INPUTS, training=True)
        loss = tf.reduce_sum(outputs)
    np.testing.assert_allclose(outputs, norm(INPUTS, training=False))
    assert norm.moving_mean.numpy().tolist() == [40.0, 41.0, 42.0]
    gamma, beta = tape.gradient(loss, [norm.gamma.value, norm.beta.value])
    # The gradient of the shift is the number of values; of the scale their
    # normalized sum.
    assert beta.numpy().tolist() == [32.0] * 3
    deviation = np.sqrt(1 + 1e-3)
    expected = (INPUTS - [40.0, 41.0, 42.0]).sum((0, 1, 2)) / deviation
    np.testing.assert_allclose(gamma, expected, rtol=1e-3)
