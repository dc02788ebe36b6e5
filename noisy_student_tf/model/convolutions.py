"""Convolutions, arranged so that they are fast on CPUs too.

Weights, names and results are those of Keras's layers. What was measured, on
two busy cores, for forward and backward of a 0.7 M parameter EfficientNet at
32 x 32 and a batch of 96, with TF_ENABLE_ONEDNN_OPTS=1: products of matrices
in the place of 1 x 1 convolutions take 8 % off a step, and a 5 x 5 depthwise
filter's gradient in four parts is 2 to 16 times as fast as in one. On maps of
up to 2 x 2 pixels the gradient of 3 x 3 and 5 x 5 filters is 50 to 200 times
as fast by sums of products. docs/performance.md has the numbers.
"""

import zlib
from typing import Any

import keras
import tensorflow as tf

_PACKAGE = "noisy_student_tf"
# Sides up to it are better served by sums of products.
_FEW_PIXELS = 2


def derive_seed(seed: int, name: str) -> int:
    """Return a seed for the initial weights of the layer of that name."""
    return zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF


def swish(inputs: tf.Tensor) -> tf.Tensor:
    """Return inputs * sigmoid(inputs).

    Unlike tf.nn.silu it keeps the sigmoid for the gradient, which takes
    memory, but a tenth off a step on CPUs.
    """
    return inputs * tf.sigmoid(inputs)


def activate(inputs: tf.Tensor, activation: str) -> tf.Tensor:
    """Apply the activation of a design, `swish` or `relu6`."""
    return tf.nn.relu6(inputs) if activation == "relu6" else swish(inputs)


def conv_initializer(seed: int) -> keras.initializers.Initializer:
    """Return the published initializer of convolutions, depthwise too.

    Normal, with a standard deviation of sqrt(2 / (kernel_size^2 * filters)),
    where a depthwise convolution counts as one filter.
    """
    return keras.initializers.VarianceScaling(
        scale=2.0, mode="fan_out", distribution="untruncated_normal", seed=seed
    )


def dense_initializer(seed: int) -> keras.initializers.Initializer:
    """Return the published initializer: uniform within 1 / sqrt(#outputs)."""
    return keras.initializers.VarianceScaling(
        scale=1 / 3, mode="fan_out", distribution="uniform", seed=seed
    )


def make_conv(
    channels: int,
    filters: int | None,
    kernel_size: int = 1,
    *,
    name: str,
    seed: int,
    strides: int = 1,
    use_bias: bool = False,
    dtype: Any = None,
) -> keras.layers.Layer:
    """Make a convolution of `channels` with "SAME" padding, built.

    Args:
        channels: That go in.
        filters: That come out; None: depthwise.
        kernel_size: Of both sides.
        name: Of the layer.
        seed: Of the initial weights, with the name.
        strides: In both directions.
        use_bias: Add a number to each channel.
        dtype: Of the layer.
    """
    initializer = conv_initializer(derive_seed(seed, name))
    options: dict[str, Any] = {
        "strides": strides,
        "padding": "same",
        "use_bias": use_bias,
        "name": name,
        "dtype": dtype,
        "autocast": False,
    }
    if filters is None:
        layer: keras.layers.Layer = DepthwiseConv2D(
            kernel_size, depthwise_initializer=initializer, **options
        )
    else:
        is_pointwise = kernel_size == 1 and strides == 1
        layer_class = PointwiseConv2D if is_pointwise else Conv2D
        layer = layer_class(
            filters, kernel_size, kernel_initializer=initializer, **options
        )
    layer.build((None, None, None, channels))
    return layer


def _as_inputs(weight: Any, inputs: tf.Tensor) -> tf.Tensor:
    """Return a weight in the type of the inputs, which decides.

    The model casts images once; its layers do not cast by their policies, so
    that a bfloat16 model can be evaluated in float32.
    """
    return tf.cast(tf.convert_to_tensor(weight), inputs.dtype)


def _add_bias(layer: Any, outputs: tf.Tensor) -> tf.Tensor:
    if not layer.use_bias:
        return outputs
    return tf.nn.bias_add(outputs, _as_inputs(layer.bias, outputs))


@keras.saving.register_keras_serializable(_PACKAGE)
class Conv2D(keras.layers.Conv2D):
    """A convolution in the type of its inputs."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolve `inputs`: float [batch, height, width, channels]."""
        outputs = tf.nn.conv2d(
            inputs,
            _as_inputs(self.kernel, inputs),
            strides=self.strides,
            padding=self.padding.upper(),
        )
        return _add_bias(self, outputs)


@keras.saving.register_keras_serializable(_PACKAGE)
class PointwiseConv2D(keras.layers.Conv2D):
    """A 1 x 1 convolution at stride 1, as a product of matrices."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolve `inputs`: float [batch, height, width, channels]."""
        kernel = _as_inputs(self.kernel, inputs)
        kernel = tf.reshape(kernel, [-1, self.filters])  # No copy.
        # [batch * height * width, channels] -> [..., filters]
        rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
        outputs = _add_bias(self, tf.matmul(rows, kernel))
        shape = tf.concat([tf.shape(inputs)[:-1], [self.filters]], axis=0)
        outputs = tf.reshape(outputs, shape)
        outputs.set_shape([*inputs.shape[:-1], self.filters])
        return outputs


@keras.saving.register_keras_serializable(_PACKAGE)
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A depthwise convolution with a faster gradient on CPUs."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolve `inputs`: float [batch, height, width, channels]."""
        kernel = _as_inputs(self.kernel, inputs)
        height, width = inputs.shape[1:3]
        is_slow = height and width and _is_slow(self.kernel_size, height, width)
        if is_slow and not _has_accelerator():
            outputs = depthwise_conv(inputs, kernel, self.strides[0])
        else:
            strides = [1, *self.strides, 1]
            outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME")
        return _add_bias(self, outputs)


def _has_accelerator() -> bool:
    return any(map(tf.config.list_logical_devices, ("GPU", "TPU")))


def _is_slow(kernel_size: tuple[int, int], height: int, width: int) -> bool:
    """Return whether oneDNN's filter gradient is a slow reference there.

    It is for 5 x 5 filters, and where most of a filter lies in the padding.
    """
    return kernel_size == (5, 5) or (
        kernel_size == (3, 3) and min(height, width) <= _FEW_PIXELS
    )


def depthwise_conv(
    inputs: tf.Tensor, kernel: tf.Tensor, stride: int
) -> tf.Tensor:
    """Convolve depthwise with "SAME" padding.

    Args:
        inputs: float [batch, height, width, channels], all but the batch
            static.
        kernel: float [size, size, channels, 1].
        stride: In both directions.

    Returns:
        float [batch, ceil(height / stride), ceil(width / stride), channels].
    """
    options: dict[str, Any] = {
        "strides": [1, stride, stride, 1],
        "padding": "SAME",
    }

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            to_inputs = tf.nn.depthwise_conv2d_backprop_input(
                tf.shape(inputs), kernel, upstream, **options
            )
            size = kernel.shape[0]
            if min(inputs.shape[1:3]) <= _FEW_PIXELS:
                to_kernel = _gradient_by_taps(inputs, upstream, size, stride)
            else:
                to_kernel = _gradient_by_corners(inputs, upstream, stride)
            return to_inputs, to_kernel

        return tf.nn.depthwise_conv2d(inputs, kernel, **options), gradients

    return convolve(inputs, kernel)


def _padding(side: int, size: int, stride: int) -> tuple[int, int]:
    """Return the numbers of zeros that "SAME" puts before and behind."""
    outputs = -(-side // stride)
    total = max((outputs - 1) * stride + size - side, 0)
    return total // 2, total - total // 2


def _gradient_by_corners(
    inputs: tf.Tensor, upstream: tf.Tensor, stride: int
) -> tf.Tensor:
    """Return a filter's gradient [5, 5, channels, 1] from its four corners.

    The kernels for filters up to 3 x 3 are fast.
    """
    _, height, width, channels = inputs.shape
    rows, columns = upstream.shape[1:3]
    pads = [_padding(side, 5, stride) for side in (height, width)]
    padded = tf.pad(inputs, [[0, 0], *pads, [0, 0]])

    def corner(top: int, left: int, height: int, width: int) -> tf.Tensor:
        # Input rows that kernel rows top ... top + height - 1 meet.
        bottom = top + (rows - 1) * stride + height
        right = left + (columns - 1) * stride + width
        return tf.nn.depthwise_conv2d_backprop_filter(
            padded[:, top:bottom, left:right],
            [height, width, channels, 1],
            upstream,
            strides=[1, stride, stride, 1],
            padding="VALID",
        )

    upper = tf.concat([corner(0, 0, 3, 3), corner(0, 3, 3, 2)], axis=1)
    lower = tf.concat([corner(3, 0, 2, 3), corner(3, 3, 2, 2)], axis=1)
    return tf.concat([upper, lower], axis=0)


def _gradient_by_taps(
    inputs: tf.Tensor, upstream: tf.Tensor, size: int, stride: int
) -> tf.Tensor:
    """Return a filter's gradient [size, size, channels, 1], number by number.

    Each is a sum of products over the pixels that it meets; on a small map
    these are few, and most numbers meet none.
    """
    spans = [
        [_meeting(side, size, stride, tap) for tap in range(size)]
        for side in inputs.shape[1:3]
    ]
    gradients = []
    for seen_rows, rows in spans[0]:
        for seen_columns, columns in spans[1]:
            seen = inputs[:, seen_rows, seen_columns]
            products = seen * upstream[:, rows, columns]
            gradients.append(tf.reduce_sum(products, axis=[0, 1, 2]))
    return tf.reshape(tf.stack(gradients), [size, size, -1, 1])


def _meeting(
    side: int, size: int, stride: int, tap: int
) -> tuple[slice, slice]:
    """Return the inputs that a filter's number meets, and their outputs."""
    shift = tap - _padding(side, size, stride)[0]
    first = max(0, -(shift // stride))
    last = min(-(-side // stride) - 1, (side - 1 - shift) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    start, end = first * stride + shift, last * stride + shift + 1
    step = stride if last > first else 1  # Steps are slow.
    return slice(start, end, step), slice(first, last + 1)
