"""A trained model for inference: normalization folded into convolutions.

At inference batch normalization is a factor and a shift of each channel. The
factor is multiplied into the kernel of the convolution before it, the shift
becomes its bias; a third of the operations is gone. So is the division of the
images by their deviation, which is part of the first kernel.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from noisy_student_tf.model import (
    convolutions,
    efficientnet,
    layers,
    normalization,
)

# On maps of up to this side 1 x 1 convolutions are products of matrices. On
# larger ones TensorFlow's convolution is faster, which takes swish along.
_FEW_PIXELS = 2


class FoldedEfficientNet(tf.Module):
    """What an EfficientNet computes without noise, and nothing else.

    Its variables are float32, and so is its arithmetic. It has the two
    methods of the model that an export serves.
    """

    def __init__(
        self, model: efficientnet.EfficientNet, *, multiplies: bool = True
    ) -> None:
        """Fold the present weights of a model; later changes do not show.

        Args:
            model: What is folded.
            multiplies: 1 x 1 convolutions of small maps are products of
                matrices; see `fold`.
        """
        super().__init__()
        self._activation = model.activation
        self._mean_rgb = np.array(model.spec.mean_rgb, np.float32)
        self._stem = _Convolution(
            model.stem_conv,
            model.stem_norm,
            input_factor=1 / np.array(model.spec.std_rgb),
        )
        self._blocks = [_Block(block, multiplies) for block in model.blocks]
        self._head = _Convolution(
            model.head_conv, model.head_norm, multiplies=multiplies
        )
        self._kernel = tf.Variable(np.array(model.classifier.kernel))
        self._bias = tf.Variable(np.array(model.classifier.bias))

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Return logits, float32 [batch, num_classes], as `classifier` does."""
        return self.classifier(self.features(images))

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """Return what the classifier sees.

        Args:
            images: float32 or uint8 [batch, height, width, 3] in [0, 255].

        Returns:
            float32 [batch, features], means over the last map.
        """
        x = self._stem(_subtract(images, self._mean_rgb))
        x = convolutions.activate(x, self._activation)
        for block in self._blocks:
            x = block(x)
        x = convolutions.activate(self._head(x), self._activation)
        return tf.reduce_mean(x, axis=[1, 2])

    def classifier(self, features: tf.Tensor) -> tf.Tensor:
        """Return logits, float32 [batch, num_classes]."""
        return tf.nn.bias_add(tf.matmul(features, self._kernel), self._bias)


class _Convolution(tf.Module):
    """A convolution, dense or depthwise, and the normalization behind it."""

    def __init__(
        self,
        conv: Any,
        norm: normalization.BatchNormalization | None = None,
        *,
        multiplies: bool = False,
        input_factor: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self._is_depthwise = isinstance(conv, keras.layers.DepthwiseConv2D)
        self._strides = list(conv.strides)
        kernel = np.array(conv.kernel, np.float64)
        if input_factor is not None:
            kernel *= input_factor[:, np.newaxis]
        if norm is None:
            bias = np.array(conv.bias)
        else:
            factor, bias = _factor_and_shift(norm)
            kernel *= factor[:, np.newaxis] if self._is_depthwise else factor
        self._multiplies = multiplies
        self._kernel = tf.Variable(kernel.astype(np.float32))
        self._bias = tf.Variable(bias.astype(np.float32))

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel, strides = self._kernel, [1, *self._strides, 1]
        if self._multiplies and _has_few_pixels(inputs):
            return self._multiply(inputs)
        if self._is_depthwise:
            outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME")
        else:
            outputs = tf.nn.conv2d(inputs, kernel, strides, "SAME")
        return tf.nn.bias_add(outputs, self._bias)

    def _multiply(self, inputs: tf.Tensor) -> tf.Tensor:
        # [batch * height * width, channels], or [batch, channels]
        channels, filters = self._kernel.shape[2:]
        kernel = tf.reshape(self._kernel, [channels, filters])
        rows = tf.reshape(inputs, [-1, channels])
        rows = tf.nn.bias_add(tf.matmul(rows, kernel), self._bias)
        return tf.reshape(rows, [-1, *inputs.shape[1:-1], filters])


class _Block(tf.Module):
    """An MBConv block."""

    def __init__(self, block: layers.MBConvBlock, multiplies: bool) -> None:
        super().__init__()
        self._activation = block.activation
        self._expand = None
        if block.expand_conv is not None:
            self._expand = _Convolution(
                block.expand_conv, block.expand_norm, multiplies=multiplies
            )
        self._depthwise = _Convolution(
            block.depthwise_conv, block.depthwise_norm
        )
        self._gate = None
        if block.squeeze_excite is not None:
            self._gate = _Gate(block.squeeze_excite)
        self._project = _Convolution(
            block.project_conv, block.project_norm, multiplies=multiplies
        )
        self._has_identity = block.has_identity

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        x = inputs
        if self._expand is not None:
            x = convolutions.activate(self._expand(x), self._activation)
        x = convolutions.activate(self._depthwise(x), self._activation)
        if self._gate is not None:
            x = self._gate(x)
        x = self._project(x)
        return inputs + x if self._has_identity else x


class _Gate(tf.Module):
    """Squeeze and excite, on products of matrices."""

    def __init__(self, layer: layers.SqueezeExcite) -> None:
        super().__init__()
        self._reduce = _Convolution(layer.reduce, multiplies=True)
        self._expand = _Convolution(layer.expand, multiplies=True)

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        means = tf.reduce_mean(inputs, axis=[1, 2])
        gate = self._expand(convolutions.swish(self._reduce(means)))
        return inputs * tf.sigmoid(gate)[:, tf.newaxis, tf.newaxis]


def _has_few_pixels(inputs: tf.Tensor) -> bool:
    """Tell whether maps are small; [batch, channels] is one pixel."""
    sides = inputs.shape[1:-1]
    return all(side is not None and side <= _FEW_PIXELS for side in sides)


def _subtract(images: tf.Tensor, color: np.ndarray) -> tf.Tensor:
    """Subtract a color from images, whole rows of pixels at a time.

    TensorFlow is slow at subtracting as few as three numbers.
    """
    images = tf.cast(images, tf.float32)
    row = tf.tile(color, [tf.shape(images)[2]])
    rows = tf.reshape(images, [-1, tf.size(row)]) - row
    return tf.ensure_shape(tf.reshape(rows, tf.shape(images)), images.shape)


def _factor_and_shift(
    norm: normalization.BatchNormalization,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a normalization multiplies with and adds, float64."""
    gamma, beta, mean, variance = (
        np.array(weight, np.float64)
        for weight in (
            norm.gamma,
            norm.beta,
            norm.moving_mean,
            norm.moving_variance,
        )
    )
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return factor, beta - mean * factor


# A network's twin for inference.
class _Unfolded(tf.Module):
    """A network that has no twin here, as it is at inference."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self._model = model
        self.classifier = model.classifier

    @property
    def variables(self) -> tuple[tf.Variable, ...]:
        return tuple(variable.value for variable in self._model.variables)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        return self.classifier(self.features(images))

    def features(self, images: tf.Tensor) -> tf.Tensor:
        return self._model.features(images)


_FOLDED = {efficientnet.EfficientNet: FoldedEfficientNet}


def fold(model: keras.Model, *, multiplies: bool = True) -> tf.Module:
    """Return what a model computes without noise, its normalization folded.

    Args:
        model: Its present weights are folded; later changes do not show.
        multiplies: 1 x 1 convolutions of small maps are products of matrices,
            which TensorFlow is faster at. Other runtimes are faster with
            convolutions, which they recognize.

    Returns:
        Images as the model takes them -> logits; with `features`,
        `classifier` and `variables`, float32. A network without a twin in
        this module is served as it is.
    """
    folded = _FOLDED.get(type(model))
    return folded(model, multiplies=multiplies) if folded else _Unfolded(model)
