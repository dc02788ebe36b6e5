"""A trained model for inference: normalization folded into convolutions.

At inference batch normalization is a factor and a shift of each channel. The
factor is multiplied into the kernel of the convolution before it, the shift
becomes its bias; a third of the operations is gone.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from noisy_student_tf.model import efficientnet, layers, normalization


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
            multiplies: 1 x 1 convolutions are products of matrices, which
                TensorFlow is faster at. Other runtimes are faster with
                convolutions, which they recognize.
        """
        super().__init__()
        self._spec = model.spec
        self._stem = _Convolution(model.stem_conv, model.stem_norm)
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
        x = efficientnet.normalize_images(images, self._spec)
        x = _swish(self._stem(x))
        for block in self._blocks:
            x = block(x)
        x = _swish(self._head(x))
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
        multiplies: bool = True,
    ) -> None:
        super().__init__()
        kernel = np.array(conv.kernel, np.float64)
        self._is_depthwise = kernel.shape[3] == 1 and hasattr(
            conv, "depth_multiplier"
        )
        self._strides = list(conv.strides)
        if norm is None:
            bias = np.array(conv.bias, np.float64)
        else:
            factor, bias = _factor_and_shift(norm)
            is_depthwise = self._is_depthwise
            kernel *= factor[:, np.newaxis] if is_depthwise else factor
        is_pointwise = kernel.shape[:2] == (1, 1) and self._strides == [1, 1]
        if is_pointwise and multiplies:
            kernel = kernel[0, 0]  # A product of matrices.
        self._kernel = tf.Variable(kernel.astype(np.float32))
        self._bias = tf.Variable(bias.astype(np.float32))

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel, strides = self._kernel, [1, *self._strides, 1]
        if self._is_depthwise:
            outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME")
        elif kernel.shape.rank == 2:
            return self._multiply(inputs)
        else:
            outputs = tf.nn.conv2d(inputs, kernel, strides, "SAME")
        return tf.nn.bias_add(outputs, self._bias)

    def _multiply(self, inputs: tf.Tensor) -> tf.Tensor:
        # [batch * height * width, channels], or [batch, channels]
        rows = inputs
        if inputs.shape.rank > 2:
            rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
        rows = tf.nn.bias_add(tf.matmul(rows, self._kernel), self._bias)
        if inputs.shape.rank == 2:
            return rows
        shape = tf.concat([tf.shape(inputs)[:-1], tf.shape(rows)[1:]], axis=0)
        outputs = tf.reshape(rows, shape)
        outputs.set_shape([*inputs.shape[:-1], rows.shape[-1]])
        return outputs


class _Block(tf.Module):
    """An MBConv block."""

    def __init__(self, block: layers.MBConvBlock, multiplies: bool) -> None:
        super().__init__()
        self._expand = None
        if block.expand_conv is not None:
            self._expand = _Convolution(
                block.expand_conv, block.expand_norm, multiplies=multiplies
            )
        self._depthwise = _Convolution(
            block.depthwise_conv, block.depthwise_norm
        )
        self._reduce = _Convolution(block.squeeze_excite.reduce)
        self._gate = _Convolution(block.squeeze_excite.expand)
        self._project = _Convolution(
            block.project_conv, block.project_norm, multiplies=multiplies
        )
        self._has_identity = block.has_identity

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        x = inputs
        if self._expand is not None:
            x = _swish(self._expand(x))
        x = _swish(self._depthwise(x))
        means = tf.reduce_mean(x, axis=[1, 2])
        gate = tf.sigmoid(self._gate(_swish(self._reduce(means))))
        x = self._project(x * gate[:, tf.newaxis, tf.newaxis])
        return inputs + x if self._has_identity else x


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


def _swish(inputs: tf.Tensor) -> tf.Tensor:
    return inputs * tf.sigmoid(inputs)
