import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.model import (
    architectures,
    convolutions,
    cost,
    efficientnet,
    efficientnet_variants,
    layers,
)
from tests import strategies
from tests.model import small_specs

SEED = tf.constant([5, 6])

# Trainable parameters by the published rules, at 1000 classes.
PARAMETERS = {
    "efficientnet-b0": 5_288_548,
    "efficientnet-b1": 7_794_184,
    "efficientnet-b2": 9_109_994,
    "efficientnet-b3": 12_233_232,
    "efficientnet-b4": 19_341_616,
    "efficientnet-b5": 30_389_784,
    "efficientnet-b6": 43_040_704,
    "efficientnet-b7": 66_347_960,
    "efficientnet-b8": 87_413_142,
    "efficientnet-l0": 140_764_664,
    "efficientnet-l1": 272_630_564,
    "efficientnet-l2": 480_309_308,
    "efficientnet-lite0": 4_652_008,
    "efficientnet-lite1": 5_416_680,
    "efficientnet-lite2": 6_092_072,
    "efficientnet-lite3": 8_197_096,
    "efficientnet-lite4": 13_006_568,
}


def make_images(batch_size=4, resolution=16):
    generator = np.random.default_rng(0)
    shape = (batch_size, resolution, resolution, 3)
    return generator.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def lite():
    return small_specs.make_calibrated(
        small_specs.make_spec(name="efficientnet-lite0")
    )


def count_weights(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.fixture(scope="module")
def model():
    return small_specs.make_calibrated(small_specs.make_spec(depth=0.3))


def full_size(name, num_classes=1000, **options):
    return small_specs.make_spec(
        name=name, width=0, depth=0, num_classes=num_classes, **options
    )


def test_every_variant_has_a_count():
    assert set(PARAMETERS) == set(architectures.VARIANTS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count(name):
    spec = full_size(name)
    assert cost.count_parameters(spec) == PARAMETERS[name]
    built = architectures.build_without_weights(spec)
    assert count_weights(built) == PARAMETERS[name]


def test_parameter_count_of_the_svhn_model_as_built():
    spec = full_size("efficientnet-b0", num_classes=10)
    assert count_weights(architectures.build(spec)) == 4_020_358
    assert cost.count_parameters(spec) == 4_020_358


@pytest.mark.parametrize(
    ("filters", "width", "expected"),
    # 24 * 0.5 = 12 -> 16; 40 * 0.5 = 20 -> 24; 88 -> 84 would be -10 % at
    # most; 13.5 rounds to 16 and 11.9 to 16 because 8 is more than 10 % down.
    [(32, 1.0, 32), (24, 0.5, 16), (40, 0.5, 24), (16, 0.25, 8), (17, 0.7, 16)],
)
def test_channels_round_to_eight(filters, width, expected):
    assert efficientnet_variants.round_filters(filters, width) == expected


def test_weight_names_are_stable(model):
    paths = [variable.path for variable in model.variables]
    assert len(set(paths)) == len(paths)
    for path in (
        "stem_conv/kernel",
        "stem_norm/moving_variance",
        "block_0/depthwise_conv/kernel",
        "block_3/expand_conv/kernel",
        "block_2/squeeze_excite/reduce/bias",
        "block_3/project_norm/gamma",
        "head_conv/kernel",
        "classifier/bias",
    ):
        assert path in paths
    second = architectures.build(model.spec)
    assert [variable.path for variable in second.variables] == paths


def test_squeeze_ratio_is_of_the_input_channels():
    spec = full_size("efficientnet-b0", num_classes=10)
    built = architectures.build_without_weights(spec)
    # Block 1 of B0 has 16 channels, expanded to 96.
    assert built.blocks[1].squeeze_excite.filters == 4


def test_lite_has_no_gates_and_fixed_ends():
    built = architectures.build_without_weights(
        small_specs.make_spec(
            name="efficientnet-lite0", width=2.0, depth=2.0, num_classes=10
        )
    )
    assert not any("squeeze" in variable.path for variable in built.variables)
    assert built.stem_conv.filters == 32
    assert built.head_conv.filters == 1280
    stages = [block.filters for block in built.blocks]
    assert [stages.count(filters) for filters in sorted(set(stages))] == [
        1, 4, 4, 6, 6, 8, 1,
    ]  # fmt: skip
    assert sorted(set(stages)) == [32, 48, 80, 160, 224, 384, 640]


def test_lite_is_never_above_six(lite):
    images = make_images(resolution=32)
    lite.head_norm.beta.assign(tf.fill(lite.head_norm.beta.shape, 100.0))
    assert (lite.features(images).numpy() == 6).all()
    lite.head_norm.beta.assign(-lite.head_norm.beta)
    assert not lite.features(images).numpy().any()


@pytest.mark.parametrize(("small", "side"), [(False, 1), (True, 4)])
def test_small_image_strides(small, side):
    spec = small_specs.make_spec(small_image_strides=small)
    built = architectures.build(spec)
    x = built.stem_conv(tf.zeros([1, 32, 32, 3]))
    for block in built.blocks:
        x = block(x)
    assert x.shape[1:3] == (side, side)


def test_logits_are_float32_for_both_image_types(model):
    images = make_images()
    logits = model(images)
    assert logits.dtype == tf.float32
    assert logits.shape == (4, 3)
    np.testing.assert_array_equal(logits, model(images.astype(np.float32)))


def test_images_are_normalized(model):
    images = tf.constant([[[[120.0, 110.0, 100.0], [170.0, 50.0, 170.0]]]])
    normalized = efficientnet.normalize_images(images, model.spec)
    np.testing.assert_allclose(normalized, [[[[0, 0, 0], [1, -1, 1]]]])


def test_published_initial_weights():
    built = architectures.build(full_size("efficientnet-b0", num_classes=4))
    weights = {v.path: v.numpy() for v in built.variables}
    head = weights["head_conv/kernel"]  # [1, 1, 320, 1280]
    np.testing.assert_allclose(head.std(), (2 / 1280) ** 0.5, rtol=0.01)
    depthwise = weights["block_12/depthwise_conv/kernel"]  # [5, 5, 1152, 1]
    np.testing.assert_allclose(depthwise.std(), (2 / 25) ** 0.5, rtol=0.02)
    classifier = weights["classifier/kernel"]
    assert 0.49 < np.abs(classifier).max() <= 0.5  # 1 / sqrt(4)
    assert not weights["classifier/bias"].any()
    first = weights["block_3/expand_conv/kernel"].ravel()[:8]
    second = weights["block_4/expand_conv/kernel"].ravel()[:8]
    assert (first != second).all()


def test_seed_decides_the_initial_weights(model):
    first, same, other = (
        architectures.build(model.spec, seed=seed).get_weights()
        for seed in (0, 0, 1)
    )
    assert all((a == b).all() for a, b in zip(first, same, strict=True))
    assert (first[0] != other[0]).all()


def test_stochastic_depth_rates_rise_with_the_block(model):
    rates = [block.stochastic_depth_rate for block in model.blocks]
    count = len(rates)
    np.testing.assert_allclose(rates, [0.2 * i / count for i in range(count)])


def test_only_identity_blocks_are_dropped():
    block = layers.MBConvBlock(
        filters=8,
        kernel_size=3,
        strides=1,
        expand_ratio=6,
        stochastic_depth_rate=0.5,
        noise_index=1,
        squeeze_excite_ratio=0.25,
        activation="swish",
        norm_options={"momentum": 0.9},
        seed=0,
    )
    block.build((None, None, None, 8))
    inputs = tf.random.stateless_normal([32, 4, 4, 8], [1, 2])
    outputs = block(inputs, noise_seed=SEED).numpy()
    dropped = (outputs == inputs.numpy()).all(axis=(1, 2, 3))
    assert 0 < dropped.sum() < 32
    residual = block(inputs).numpy() - inputs.numpy()
    np.testing.assert_allclose(
        outputs[~dropped],
        (inputs.numpy() + 2 * residual)[~dropped],
        rtol=1e-4,
        atol=1e-5,
    )
    wider = layers.MBConvBlock(**{**_arguments(block), "filters": 16})
    wider.build((None, None, None, 8))
    np.testing.assert_array_equal(wider(inputs, noise_seed=SEED), wider(inputs))


def _arguments(block):
    config = block.get_config()
    for name in ("name", "trainable", "dtype"):
        config.pop(name)
    return config


def test_noise_depends_on_the_seed_alone(model):
    images = make_images(batch_size=32)
    call = tf.function(lambda seed: model.features(images, noise_seed=seed))
    first, again = call(SEED), call(SEED)
    np.testing.assert_array_equal(first, again)
    assert (first.numpy() != call(SEED + 1).numpy()).any()


def test_unnoised_examples_equal_inference(model):
    images = make_images(batch_size=16)
    noised = tf.constant([True] * 8 + [False] * 8)
    clean = model.features(images).numpy()
    mixed = model.features(images, noise_seed=SEED, noised=noised).numpy()
    np.testing.assert_array_equal(mixed[8:], clean[8:])
    assert (mixed[:8] != clean[:8]).any()


def test_training_without_a_seed_is_an_error(model):
    with pytest.raises(ValueError, match="noise_seed=None"):
        model(make_images(), training=True)


def test_training_without_noise_needs_no_seed():
    spec = small_specs.make_spec(dropout_rate=0.0, stochastic_depth_rate=0.0)
    logits = architectures.build(spec)(make_images(), training=True)
    assert logits.shape == (4, 3)


@pytest.mark.parametrize("name", ["efficientnet-b0", "efficientnet-lite0"])
def test_every_trainable_variable_gets_a_gradient(name):
    built = architectures.build(small_specs.make_spec(name=name))
    images = make_images(batch_size=8, resolution=32)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            logits = built(images, training=True, noise_seed=SEED)
            loss = tf.reduce_mean(tf.reduce_logsumexp(logits, axis=1))
        values = [v.value for v in built.trainable_variables]
        return tape.gradient(loss, values)

    for variable, gradient in zip(
        built.trainable_variables, gradients(), strict=True
    ):
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


def test_keras_file_round_trip(model, tmp_path):
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.spec == model.spec
    np.testing.assert_array_equal(loaded(make_images()), model(make_images()))


@pytest.fixture
def bfloat16_model(model):
    built = efficientnet.EfficientNet(model.spec, dtype="mixed_bfloat16")
    built.set_weights(model.get_weights())
    return built


@pytest.mark.usefixtures("bfloat16_kernels")
def test_mixed_bfloat16_trains_in_bfloat16(model, bfloat16_model):
    images = make_images()
    dtypes = set()
    swish = convolutions.swish

    def spy(inputs):
        dtypes.add(inputs.dtype)
        return swish(inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolutions, "swish", spy)
        logits = bfloat16_model(images, training=True, noise_seed=SEED)
    assert dtypes == {tf.bfloat16}
    # Logits, weights and statistics stay float32.
    assert logits.dtype == tf.float32
    assert {v.dtype for v in bfloat16_model.variables} == {"float32"}
    stem = model.stem_conv(efficientnet.normalize_images(images, model.spec))
    np.testing.assert_allclose(
        bfloat16_model.stem_norm.moving_mean,
        tf.reduce_mean(stem, axis=[0, 1, 2]),
        atol=0.02,
    )


def test_mixed_bfloat16_infers_in_float32(model, bfloat16_model):
    images = make_images()
    np.testing.assert_array_equal(bfloat16_model(images), model(images))


def test_spec_survives_the_configuration(model):
    config = model.get_config()
    assert config["spec"] == dataclasses.asdict(model.spec)
    assert efficientnet.EfficientNet.from_config(config).spec == model.spec


def test_replicas_share_statistics_and_draw_different_noise():
    strategy = strategies.mirrored(2)
    spec = small_specs.make_spec(depth=0.3, dropout_rate=0.5)
    with strategy.scope():
        built = architectures.build(spec, synchronized_batch_norm=True)
    images = make_images(batch_size=8)

    @tf.function
    def step():
        def replica_step():
            context = tf.distribute.get_replica_context()
            seed = tf.stack([5, context.replica_id_in_sync_group])
            return built(images, training=True, noise_seed=seed)

        return strategy.run(replica_step)

    first, second = (logits.numpy() for logits in step().values)
    assert (first != second).any()
    # Their images are the same: only noise lets replicas differ.
    for variable in built.head_norm.variables:
        values = [part.numpy() for part in variable.value.values]
        np.testing.assert_array_equal(*values)
    assert np.any(built.head_norm.moving_mean)
