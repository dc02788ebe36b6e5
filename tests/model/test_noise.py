import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.model import noise

SEED = tf.constant([3, 4])
OTHER_SEED = tf.constant([3, 5])


def test_stochastic_depth_drops_or_scales_whole_examples():
    residual = tf.ones([64, 2, 2, 3])
    outputs = noise.stochastic_depth(residual, rate=0.2, seed=SEED).numpy()
    values = outputs.reshape(64, -1)
    assert (values == values[:, :1]).all()
    np.testing.assert_allclose(np.unique(values), [0.0, 1.25])
    assert 2 <= (values[:, 0] == 0).sum() <= 30


@pytest.mark.parametrize(
    ("operation", "shape"),
    [(noise.stochastic_depth, [400, 1, 1, 1]), (noise.dropout, [40, 10])],
)
def test_share_of_dropped_is_the_rate(operation, shape):
    dropped = [
        np.mean(operation(tf.ones(shape), rate=0.3, seed=[0, i]).numpy() == 0)
        for i in range(50)
    ]
    # 20,000 draws: the standard deviation of their mean is 0.0032.
    np.testing.assert_allclose(np.mean(dropped), 0.3, atol=0.013)


def test_dropout_drops_or_scales_single_features():
    outputs = noise.dropout(tf.ones([8, 40]), rate=0.5, seed=SEED).numpy()
    assert set(np.unique(outputs)) == {0.0, 2.0}
    assert (outputs != outputs[:, :1]).any()
    assert (outputs != outputs[:1]).any()


@pytest.mark.parametrize("operation", [noise.stochastic_depth, noise.dropout])
def test_unnoised_examples_are_left_alone(operation):
    noised = tf.constant([True] * 32 + [False] * 32)
    inputs = tf.fill([64, 30], 7.0)
    outputs = operation(inputs, rate=0.5, seed=SEED, noised=noised).numpy()
    assert (outputs[32:] == 7.0).all()
    everywhere = operation(inputs, rate=0.5, seed=SEED).numpy()
    np.testing.assert_array_equal(outputs[:32], everywhere[:32])
    assert (outputs[:32] == 0.0).any()


@pytest.mark.parametrize("operation", [noise.stochastic_depth, noise.dropout])
def test_mask_is_a_function_of_the_seed(operation):
    inputs = tf.ones([64, 8])
    in_graph = tf.function(lambda seed: operation(inputs, rate=0.5, seed=seed))
    eager = operation(inputs, rate=0.5, seed=SEED)
    np.testing.assert_array_equal(eager, in_graph(SEED))
    assert (eager.numpy() != in_graph(OTHER_SEED).numpy()).any()


@pytest.mark.parametrize("operation", [noise.stochastic_depth, noise.dropout])
def test_rate_zero_is_the_identity(operation):
    inputs = tf.ones([4, 2])
    assert operation(inputs, rate=0.0, seed=SEED) is inputs


def test_layers_of_successive_steps_draw_from_different_seeds():
    seeds = {
        tuple(noise.layer_seed(tf.constant([9, step]), layer).numpy())
        for step in range(8)
        for layer in range(8)
    }
    assert len(seeds) == 64


def test_bfloat16_stays_bfloat16():
    inputs = tf.ones([16, 4], tf.bfloat16)
    outputs = noise.dropout(inputs, rate=0.5, seed=SEED)
    assert outputs.dtype == tf.bfloat16
