import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.model import architectures, efficientnet, layers
from tests import strategies
from tests.model import small_specs

SEED = tf.constant([5, 6])
SPEC = dataclasses.replace(
    small_specs.make_spec(depth=0.3),
    dropout_rate=0.5,
    stochastic_depth_rate=0.5,
    batch_norm_momentum=0.9,
)
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, [8, 32, 32, 3], dtype=np.uint8)


class Blocks(keras.Model):
    """Blocks with stochastic depth, and means for logits."""

    def __init__(self, num_blocks, synchronized):
        super().__init__()
        self.blocks = [
            make_block(synchronized, name=f"block_{i}")
            for i in range(num_blocks)
        ]

    def call(self, images, training, noise_seed, recompute):
        x = tf.cast(images, tf.float32)
        for block in self.blocks:
            options = {"training": training, "noise_seed": noise_seed}
            if recompute:
                x = layers.recompute(block, x, **options)
            else:
                x = block(x, **options)
        return tf.reduce_mean(x, axis=[1, 2])


def gradients_of(model, images, seed, **options):
    """Return the loss and its gradients in one training pass."""
    with tf.GradientTape() as tape:
        logits = model(images, training=True, noise_seed=seed, **options)
        loss = tf.reduce_mean(tf.reduce_logsumexp(logits, axis=1))
    values = [variable.value for variable in model.trainable_variables]
    return loss, tape.gradient(loss, values)


def assert_close(made, expected, tolerance):
    """Compare tensors by the largest value of each."""
    for a, b in zip(
        tf.nest.flatten(expected), tf.nest.flatten(made), strict=True
    ):
        scale = float(np.abs(a).max()) + 1e-6
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * scale)


@pytest.fixture
def graphs_as_written():
    """Keep graphs from being rewritten, and so from rounding differently."""
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )
    yield
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": False}
    )


@pytest.mark.parametrize("name", ["efficientnet-b0", "efficientnet-lite0"])
def test_model_with_noise_is_the_same(name, graphs_as_written):
    outputs, weights = [], []
    spec = dataclasses.replace(SPEC, name=name)
    for recompute in (False, True):
        model = architectures.build(spec, recompute=recompute)
        outputs.append(tf.function(gradients_of)(model, IMAGES, SEED))
        weights.append(model.get_weights())
    assert_close(outputs[1], outputs[0], 1e-6)
    assert_close(weights[1], weights[0], 1e-6)


# Sums over replicas are no part of an XLA program on a CPU.
@pytest.mark.parametrize(
    "num_replicas, jit_compile", [(1, False), (1, True), (2, False)]
)
def test_blocks_with_noise_are_the_same(
    num_replicas, jit_compile, graphs_as_written
):
    strategy = strategies.mirrored(num_replicas)
    inputs = tf.constant(GENERATOR.normal(size=[8, 4, 4, 8]), tf.float32)

    def passes(recompute):
        with strategy.scope():
            # One is enough for XLA, which takes its time.
            model = Blocks(1 if jit_compile else 2, num_replicas > 1)

        def replica_pass():
            context = tf.distribute.get_replica_context()
            index = context.replica_id_in_sync_group
            own = tf.reshape(inputs, [num_replicas, -1, 4, 4, 8])[index]
            return gradients_of(model, own, SEED + index, recompute=recompute)

        function = tf.function(
            lambda: strategy.run(replica_pass), jit_compile=jit_compile
        )
        outputs = tf.nest.map_structure(
            strategy.experimental_local_results, function()
        )
        return outputs, model.get_weights()

    plain, again = passes(False), passes(True)
    assert_close(again, plain, 1e-4 if jit_compile else 1e-6)


def test_statistics_move_once():
    block = make_block()
    inputs = tf.constant(GENERATOR.normal(size=[4, 4, 4, 8]), tf.float32)
    expanded = block.expand_conv(inputs)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layers.recompute(block, inputs, training=True)
        return tape.gradient(outputs, inputs)

    gradient()
    expected = 0.1 * np.mean(expanded, axis=(0, 1, 2))
    np.testing.assert_allclose(
        block.expand_norm.moving_mean, expected, rtol=1e-4, atol=1e-6
    )


def test_frozen_block_keeps_its_weights_and_passes_the_gradient_on():
    block = make_block()
    block.trainable = False
    before = block.get_weights()
    inputs = tf.constant(GENERATOR.normal(size=[4, 4, 4, 8]), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        again = layers.recompute(block, inputs, training=True)
        plain = block(inputs, training=True)
    np.testing.assert_array_equal(again, plain)
    np.testing.assert_allclose(
        tape.gradient(again, inputs), tape.gradient(plain, inputs), rtol=1e-5
    )
    for a, b in zip(before, block.get_weights(), strict=True):
        np.testing.assert_array_equal(b, a)


@pytest.mark.parametrize("recompute", [False, True])
def test_activations_of_a_block_are_not_kept(recompute):
    # Nothing but the inputs, the weights and the noise of a block may be
    # used by both of the graph's halves; the expanded maps have 32 channels.
    block = make_block()
    call = layers.recompute if recompute else lambda b, *a, **o: b(*a, **o)

    @tf.function
    def gradient(inputs, upstream):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = call(block, inputs, training=True, noise_seed=SEED)
        with tf.name_scope("backward"):
            return tape.gradient(outputs, inputs, upstream)

    spec = tf.TensorSpec([4, 4, 4, 8])
    graph = gradient.get_concrete_function(spec, spec).graph
    shared = [
        source.name
        for operation in graph.get_operations()
        if "backward" in operation.name
        for source in operation.inputs
        if "backward" not in source.op.name and source.shape == [4, 4, 4, 32]
    ]
    assert bool(shared) != recompute


@pytest.mark.usefixtures("bfloat16_kernels")
def test_mixed_precision():
    made = [
        efficientnet.EfficientNet(
            SPEC, recompute=recompute, dtype="mixed_bfloat16"
        )
        for recompute in (False, True)
    ]
    (loss, plain), (other, again) = (
        gradients_of(model, IMAGES, SEED) for model in made
    )
    np.testing.assert_allclose(other, loss, rtol=1e-6)
    for a, b in zip(plain, again, strict=True):
        scale = float(np.abs(a).max()) + 1e-6
        np.testing.assert_allclose(b, a, atol=0.02 * scale)


def test_recomputation_survives_a_keras_file(tmp_path):
    path = str(tmp_path / "model.keras")
    architectures.build(SPEC, recompute=True).save(path)
    assert keras.saving.load_model(path).recompute


def make_block(synchronized=False, name="block"):
    block = layers.MBConvBlock(
        filters=8,
        kernel_size=3,
        strides=1,
        expand_ratio=4,
        stochastic_depth_rate=0.5,
        noise_index=1,
        squeeze_excite_ratio=0.25,
        activation="swish",
        norm_options={"momentum": 0.9, "synchronized": synchronized},
        seed=0,
        name=name,
    )
    block.build((None, None, None, 8))
    return block


def test_a_small_l2_lowers_to_xla_with_static_shapes():
    spec = small_specs.make_spec(name="efficientnet-l2", width=0.1, depth=0.1)
    model = architectures.build(spec, recompute=True)
    # All of a step that is XLA's part: forward and backward.
    compiled = tf.function(
        lambda images: gradients_of(model, images, SEED), jit_compile=True
    )
    lowered = compiled.experimental_get_compiler_ir(tf.constant(IMAGES))("hlo")
    assert "u8[8,32,32,3]" in lowered
    assert "<=" not in lowered.partition("entry_computation_layout")[2][:200]


NOISE_SEED = tf.constant([3, 4])
OTHER_NOISE_SEED = tf.constant([3, 5])


def test_stochastic_depth_drops_or_scales_whole_examples():
    residual = tf.ones([64, 2, 2, 3])
    outputs = layers.stochastic_depth(
        residual, rate=0.2, seed=NOISE_SEED
    ).numpy()
    values = outputs.reshape(64, -1)
    assert (values == values[:, :1]).all()
    np.testing.assert_allclose(np.unique(values), [0.0, 1.25])
    assert 2 <= (values[:, 0] == 0).sum() <= 30


@pytest.mark.parametrize(
    ("operation", "shape"),
    [(layers.stochastic_depth, [400, 1, 1, 1]), (layers.dropout, [40, 10])],
)
def test_share_of_dropped_is_the_rate(operation, shape):
    dropped = [
        np.mean(operation(tf.ones(shape), rate=0.3, seed=[0, i]).numpy() == 0)
        for i in range(50)
    ]
    # 20,000 draws: the standard deviation of their mean is 0.0032.
    np.testing.assert_allclose(np.mean(dropped), 0.3, atol=0.013)


def test_dropout_drops_or_scales_single_features():
    outputs = layers.dropout(
        tf.ones([8, 40]), rate=0.5, seed=NOISE_SEED
    ).numpy()
    assert set(np.unique(outputs)) == {0.0, 2.0}
    assert (outputs != outputs[:, :1]).any()
    assert (outputs != outputs[:1]).any()


@pytest.mark.parametrize("operation", [layers.stochastic_depth, layers.dropout])
def test_unnoised_examples_are_left_alone(operation):
    noised = tf.constant([True] * 32 + [False] * 32)
    inputs = tf.fill([64, 30], 7.0)
    outputs = operation(
        inputs, rate=0.5, seed=NOISE_SEED, noised=noised
    ).numpy()
    assert (outputs[32:] == 7.0).all()
    everywhere = operation(inputs, rate=0.5, seed=NOISE_SEED).numpy()
    np.testing.assert_array_equal(outputs[:32], everywhere[:32])
    assert (outputs[:32] == 0.0).any()


@pytest.mark.parametrize("operation", [layers.stochastic_depth, layers.dropout])
def test_mask_is_a_function_of_the_seed(operation):
    inputs = tf.ones([64, 8])
    in_graph = tf.function(lambda seed: operation(inputs, rate=0.5, seed=seed))
    eager = operation(inputs, rate=0.5, seed=NOISE_SEED)
    np.testing.assert_array_equal(eager, in_graph(NOISE_SEED))
    assert (eager.numpy() != in_graph(OTHER_NOISE_SEED).numpy()).any()


@pytest.mark.parametrize("operation", [layers.stochastic_depth, layers.dropout])
def test_rate_zero_is_the_identity(operation):
    inputs = tf.ones([4, 2])
    assert operation(inputs, rate=0.0, seed=NOISE_SEED) is inputs


def test_layers_of_successive_steps_draw_from_different_seeds():
    seeds = {
        tuple(layers.layer_seed(tf.constant([9, step]), layer).numpy())
        for step in range(8)
        for layer in range(8)
    }
    assert len(seeds) == 64


def test_bfloat16_stays_bfloat16():
    inputs = tf.ones([16, 4], tf.bfloat16)
    outputs = layers.dropout(inputs, rate=0.5, seed=NOISE_SEED)
    assert outputs.dtype == tf.bfloat16
