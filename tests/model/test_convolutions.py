import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.model import convolutions

GENERATOR = np.random.default_rng(0)


def normal(*shape):
    return tf.constant(GENERATOR.normal(size=shape).astype(np.float32))


def outputs_and_gradients(layer, inputs):
    weights = tf.reshape(tf.sin(tf.range(2.0 * 6 * 7 * 4)), [2, 6, 7, 4])
    variables = [variable.value for variable in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
        loss = tf.reduce_sum(outputs * weights)
    return [outputs, *tape.gradient(loss, [inputs, *variables])]


@pytest.mark.parametrize(
    ("layer_class", "parent_class", "arguments"),
    [
        (
            convolutions.PointwiseConv2D,
            keras.layers.Conv2D,
            {"filters": 4, "kernel_size": 1},
        ),
        (
            convolutions.DepthwiseConv2D,
            keras.layers.DepthwiseConv2D,
            {"kernel_size": 5, "padding": "same"},
        ),
        (
            convolutions.DepthwiseConv2D,
            keras.layers.DepthwiseConv2D,
            {"kernel_size": 3, "padding": "same"},
        ),
    ],
)
def test_outputs_and_gradients_equal_those_of_keras(
    layer_class, parent_class, arguments
):
    layer, parent = layer_class(**arguments), parent_class(**arguments)
    inputs = normal(2, 6, 7, 4)
    for made in (layer, parent):
        made.build(inputs.shape)
    layer.bias.assign([1.0, 2.0, 3.0, 4.0])
    parent.set_weights(layer.get_weights())
    for mine, expected in zip(
        outputs_and_gradients(layer, inputs),
        outputs_and_gradients(parent, inputs),
        strict=True,
    ):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4)


def test_pointwise_shape_of_unknown_sizes_keeps_the_filters():
    layer = convolutions.make_conv(3, 4, name="conv", seed=0)
    signature = [tf.TensorSpec([None, None, None, 3])]
    function = tf.function(layer, input_signature=signature)
    shape = function.get_concrete_function().outputs[0].shape
    assert shape.as_list() == [None, None, None, 4]


def test_swish_is_silu():
    inputs = normal(50)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        mine, expected = convolutions.swish(inputs), tf.nn.silu(inputs)
    np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        tape.gradient(mine, inputs),
        tape.gradient(expected, inputs),
        rtol=1e-5,
        atol=1e-6,
    )


# TensorFlow's own gradient serves kernels of 3 on maps larger than 2.
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "size, side", [(3, 1), (3, 2), (5, 1), (5, 2), (5, 3), (5, 4), (5, 9)]
)
def test_depthwise_gradients_at_all_sizes_of_maps(size, stride, side):
    inputs, kernel = normal(3, side, side, 4), normal(size, size, 4, 1)
    strides = [1, stride, stride, 1]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([inputs, kernel])
        mine = convolutions.depthwise_conv(inputs, kernel, stride)
        expected = tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME")
        losses = [tf.reduce_sum(tf.sin(x)) for x in (mine, expected)]
    np.testing.assert_array_equal(mine, expected)
    for a, b in zip(
        *(tape.gradient(loss, [inputs, kernel]) for loss in losses), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
