"""The image operations of RandAugment, as published, pixel by pixel.

Images are uint8 [height, width, 3] in [0, 255] of static shape; arguments are
Python numbers, so that whatever follows from them is computed once. Arguments
beyond an operation's nominal range do what the published code does with them.

Written for speed on CPU: byte arithmetic or a table of values where that is
exact, and loops that XLA compiles (`kernels`) where it is not.
"""

import math

import numpy as np
import tensorflow as tf

from noisy_student_tf.pipeline import kernels

_SOLARIZE_ADD_THRESHOLD = 128
_VALUES = np.arange(kernels.NUM_VALUES)


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretch each channel's values to [0, 255]."""
    low, high = (
        tf.cast(values, tf.float32)[:, tf.newaxis]
        for values in kernels.value_range(image)
    )  # [3, 1] each
    varies = high > low
    # A constant channel stays as it is: scale 1, offset 0.
    scale = tf.where(varies, 255.0 / tf.where(varies, high - low, 1.0), 1.0)
    offset = tf.where(varies, -low * scale, 0.0)
    table = kernels.to_uint8(_VALUES.astype(np.float32) * scale + offset)
    return kernels.lookup(image, tf.reshape(table, [-1]))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Make each channel's histogram as flat as a table of values can."""
    histogram = tf.raw_ops.DenseBincount(
        input=kernels.table_entries(image),
        size=3 * kernels.NUM_VALUES,
        weights=tf.constant([], tf.int32),
        binary_output=False,
    )
    table = equalize_table(tf.reshape(histogram, [3, kernels.NUM_VALUES]))
    return kernels.lookup(image, tf.reshape(table, [-1]))


def equalize_table(histogram: tf.Tensor) -> tf.Tensor:
    """Return the new value of each value.

    Args:
        histogram: int32 [3, 256], pixels of each channel that have a value.

    Returns:
        uint8 [3, 256].
    """
    values = tf.constant(_VALUES, tf.int32)
    top = tf.reduce_max(tf.where(histogram > 0, values, 0), 1, keepdims=True)
    num_top = tf.gather(histogram, top, batch_dims=1)  # [3, 1]
    num_pixels = tf.reduce_sum(histogram, 1, keepdims=True)
    step = (num_pixels - num_top) // 255
    below = tf.cumsum(histogram, 1, exclusive=True)
    # The lowest value always becomes 0, whatever step // 2 is.
    new = (below + step // 2) // tf.maximum(step, 1)
    new = tf.where(values > 0, tf.clip_by_value(new, 0, 255), 0)
    return tf.cast(tf.where(step > 0, new, values), tf.uint8)


def invert(image: tf.Tensor) -> tf.Tensor:
    """Return 255 - image."""
    return tf.constant(255, tf.uint8) - image


def posterize(image: tf.Tensor, bits: int) -> tf.Tensor:
    """Keep the upper bits of each value.

    The published shift of 8 - bits is a byte, and shifts stop at 7: 0 bits
    and more than 8 bits keep the top bit only.
    """
    shift = min((8 - bits) % kernels.NUM_VALUES, 7)
    mask = (0xFF << shift) & 0xFF
    return tf.bitwise.bitwise_and(image, tf.constant(mask, tf.uint8))


def solarize(image: tf.Tensor, threshold: int) -> tf.Tensor:
    """Invert the values from a threshold on.

    The published threshold is a byte: 691 is 179.
    """
    threshold %= kernels.NUM_VALUES
    inverted = np.where(threshold <= _VALUES, 255 - _VALUES, _VALUES)
    return kernels.lookup(image, _same_for_channels(inverted))


def solarize_add(image: tf.Tensor, addition: int) -> tf.Tensor:
    """Add to the values below 128, and clip them."""
    is_low = _VALUES < _SOLARIZE_ADD_THRESHOLD
    added = np.where(is_low, np.minimum(_VALUES + addition, 255), _VALUES)
    return kernels.lookup(image, _same_for_channels(added))


def _same_for_channels(table: np.ndarray) -> tf.Tensor:
    return tf.constant(np.tile(table.astype(np.uint8), 3))


def color(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with the gray image; factor 0 is gray."""
    if factor == 1.0:
        return image
    return kernels.gray_blend(image, tf.constant(factor, tf.float32))


def contrast(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with a constant image; factor 0 is constant.

    The published constant is not the mean of the gray image: it is the sum of
    its histogram over 256, so it follows from the image's size alone.
    """
    height, width = image.shape[:2]
    constant = min(height * width / kernels.NUM_VALUES, 255.0)
    return _blend(tf.constant(int(constant), tf.uint8), image, factor)


def corrected_contrast(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with the mean of the gray image, as PIL does; 0 is constant.

    Not what was published: see `contrast`.
    """
    mean = tf.reduce_mean(kernels.gray(image))
    return _blend(tf.cast(mean + 0.5, tf.uint8), image, factor)


def brightness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with black; factor 0 is black."""
    return _blend(tf.constant(0, tf.uint8), image, factor)


def sharpness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with the smoothed image; factor 0 is smooth.

    The border of one pixel stays as it is.
    """
    if factor == 1.0:
        return image
    height, width = image.shape[:2]
    rows = tf.reshape(image, [height, width * 3])
    values = tf.cast(rows, tf.float32)
    inner = kernels.smooth_blend(
        values * np.float32(1 / 13),
        values * np.float32(5 / 13),
        rows,
        tf.constant(factor, tf.float32),
    )
    inner = tf.reshape(inner, [height - 2, width - 2, 3])
    middle = tf.concat([image[1:-1, :1], inner, image[1:-1, -1:]], 1)
    return tf.concat([image[:1], middle, image[-1:]], 0)


def cutout(image: tf.Tensor, pad: int, center: tf.Tensor) -> tf.Tensor:
    """Cover a square with gray.

    Args:
        image: uint8 [height, width, 3].
        pad: Half the side of the square, in pixels.
        center: float32 [2] in [0, 1), row and column as shares of height and
            width; the square may overlap the border.
    """
    size = np.array(image.shape[:2])
    middle = tf.cast(center * size.astype(np.float32), tf.int32)
    top, left = tf.unstack(tf.maximum(middle - pad, 0))
    bottom, right = tf.unstack(tf.minimum(middle + pad, size))
    band = image[top:bottom]
    square = tf.fill([bottom - top, right - left, 3], np.uint8(kernels.FILL))
    band = tf.concat([band[:, :left], square, band[:, right:]], 1)
    covered = tf.concat([image[:top], band, image[bottom:]], 0)
    return tf.ensure_shape(covered, image.shape)


def geometric(
    image: tf.Tensor,
    operation: str,
    argument: float,
    is_negative: tf.Tensor | bool = False,
) -> tf.Tensor:
    """Rotate, shear or translate; what comes from outside is gray.

    Args:
        image: uint8 [height, width, 3].
        operation: One of "rotate", "shear_x", "shear_y", "translate_x" and
            "translate_y".
        argument: Degrees, slope or pixels.
        is_negative: bool []; turns the argument's sign around.
    """
    height, width = image.shape[:2]
    both = [
        _affine_parts(_matrix(operation, signed, height, width), height, width)
        for signed in (argument, -argument)
    ]
    sign = tf.cast(is_negative, tf.int32)
    chosen = [
        tf.gather(tf.constant(np.stack(parts)), sign)
        for parts in zip(*both, strict=True)
    ]
    source = kernels.source_pixels(tuple(chosen[:3]), tuple(chosen[3:]))
    return kernels.take_pixels(image, source)


def _affine_parts(
    matrix: np.ndarray, height: int, width: int
) -> list[np.ndarray]:
    """Split an affine map into what depends on column, row and neither.

    Args:
        matrix: float32 [2, 3]: (x, y) of the source from (x, y, 1).
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        float32 [width], [height] and [] for x, then for y.
    """
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)
    return [part for row in matrix for part in (row[0] * x, row[1] * y, row[2])]


def _matrix(
    operation: str, argument: float, height: int, width: int
) -> np.ndarray:
    """Return float32 [2, 3], the map from an image's pixels to their source."""
    if operation == "rotate":
        angle = math.radians(argument)
        cos, sin = math.cos(angle), math.sin(angle)
        right, bottom = width - 1, height - 1
        x_offset = (right - (cos * right - sin * bottom)) / 2
        y_offset = (bottom - (sin * right + cos * bottom)) / 2
        rows: list[list[float]] = [
            [cos, -sin, x_offset],
            [sin, cos, y_offset],
        ]
    else:
        matrices: dict[str, list[list[float]]] = {
            "shear_x": [[1, argument, 0], [0, 1, 0]],
            "shear_y": [[1, 0, 0], [argument, 1, 0]],
            "translate_x": [[1, 0, argument], [0, 1, 0]],
            "translate_y": [[1, 0, 0], [0, 1, argument]],
        }
        rows = matrices[operation]
    return np.array(rows, np.float32)


def _blend(first: tf.Tensor, second: tf.Tensor, factor: float) -> tf.Tensor:
    """Return first + factor * (second - first), clipped; 1 is the second.

    Args:
        first: uint8, of a shape that broadcasts to the second's.
        second: uint8 [height, width, 3].
        factor: Above 1 it extrapolates.
    """
    if factor == 0.0:
        return tf.zeros_like(second) + first
    if factor == 1.0:
        return second
    base = tf.cast(first, tf.float32)
    difference = tf.cast(second, tf.float32) - base
    return kernels.to_uint8(base + factor * difference)
