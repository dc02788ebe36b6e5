"""The image operations of RandAugment, as published, pixel by pixel.

Images are uint8 [height, width, 3] in [0, 255] of static shape; arguments are
Python numbers, so that whatever follows from them is computed once. Arguments
beyond an operation's nominal range do what the published code does with them.

Written for speed on CPU: byte arithmetic where that is exact, and one gather
of whole pixels for all geometry (tf.gather and tf.where cost 20 times as much
per byte as arithmetic does).
"""

import math

import numpy as np
import tensorflow as tf

FILL = 128
_SOLARIZE_ADD_THRESHOLD = 128
_NUM_VALUES = 256
_GRAY_WEIGHTS = np.array([[0.2989], [0.5870], [0.1140]], np.float32)


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretch each channel's values to [0, 255]."""
    # One axis after the other: reducing both at once is slow.
    low = tf.reduce_min(tf.reduce_min(image, 0), 0)  # [3]
    high = tf.reduce_max(tf.reduce_max(image, 0), 0)  # [3]
    low, high = tf.cast(low, tf.float32), tf.cast(high, tf.float32)
    varies = high > low
    # A constant channel stays as it is: scale 1, offset 0.
    scale = tf.where(varies, 255.0 / tf.where(varies, high - low, 1.0), 1.0)
    offset = tf.where(varies, -low * scale, 0.0)
    values = tf.cast(_as_rows(image), tf.float32)
    width = image.shape[1]
    stretched = values * tf.tile(scale, [width]) + tf.tile(offset, [width])
    return tf.reshape(_to_uint8(stretched), image.shape)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Make each channel's histogram as flat as a table of values can."""
    # Each channel has its own 256 entries of one table.
    first = np.tile(np.arange(3, dtype=np.int32) * _NUM_VALUES, image.shape[1])
    values = tf.cast(_as_rows(image), tf.int32) + first
    histogram = tf.reshape(
        tf.raw_ops.DenseBincount(
            input=tf.reshape(values, [-1]),
            size=3 * _NUM_VALUES,
            weights=tf.constant([], tf.int32),
            binary_output=False,
        ),
        [3, _NUM_VALUES],
    )
    table = tf.reshape(equalize_table(histogram), [-1])  # [3 * 256]
    return tf.reshape(tf.gather(table, values), image.shape)


def equalize_table(histogram: tf.Tensor) -> tf.Tensor:
    """Return the new value of each value.

    Args:
        histogram: int32 [3, 256], pixels of each channel that have a value.

    Returns:
        uint8 [3, 256].
    """
    values = tf.range(_NUM_VALUES)
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
    shift = min((8 - bits) % _NUM_VALUES, 7)
    mask = (0xFF << shift) & 0xFF
    return tf.bitwise.bitwise_and(image, tf.constant(mask, tf.uint8))


def solarize(image: tf.Tensor, threshold: int) -> tf.Tensor:
    """Invert the values from a threshold on.

    The published threshold is a byte: 691 is 179.
    """
    threshold %= _NUM_VALUES
    is_high = tf.cast(image >= tf.constant(threshold, tf.uint8), tf.uint8)
    return tf.bitwise.bitwise_xor(image, is_high * tf.constant(255, tf.uint8))


def solarize_add(image: tf.Tensor, addition: int) -> tf.Tensor:
    """Add to the values below 128, and clip them."""
    addition = min(addition, 255)
    added = image + tf.minimum(invert(image), tf.constant(addition, tf.uint8))
    is_low = tf.cast(
        image < tf.constant(_SOLARIZE_ADD_THRESHOLD, tf.uint8), tf.uint8
    )
    return image + (added - image) * is_low


def color(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with the gray image; factor 0 is gray."""
    pixels = tf.reshape(image, [-1, 3])
    # As tf.image.rgb_to_grayscale computes it. A product with ones repeats it
    # for each channel faster than broadcasting does.
    shares = tf.cast(pixels, tf.float32) * np.float32(1 / 255)
    gray = tf.matmul(shares, _GRAY_WEIGHTS) * 255.5  # [height * width, 1]
    gray = tf.matmul(gray, np.ones([1, 3], np.float32))
    gray = tf.cast(gray, tf.uint8)  # [height * width, 3]
    return tf.reshape(_blend(gray, pixels, factor), image.shape)


def contrast(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with a constant image; factor 0 is constant.

    The published constant is not the mean of the gray image: it is the sum of
    its histogram over 256, so it follows from the image's size alone.
    """
    height, width = image.shape[:2]
    constant = min(height * width / _NUM_VALUES, 255.0)
    return _blend(tf.constant(int(constant), tf.uint8), image, factor)


def brightness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with black; factor 0 is black."""
    return _blend(tf.constant(0, tf.uint8), image, factor)


def sharpness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with the smoothed image; factor 0 is smooth.

    The border of one pixel stays as it is.
    """
    height, width = image.shape[:2]
    values = tf.reshape(tf.cast(image, tf.float32), [-1])
    neighbors, centers = (
        values * np.float32(1 / 13),
        values * np.float32(5 / 13),
    )
    # Sums of shifted flat images; only the first and last column of each row,
    # which stay as they are, mix pixels of different rows.
    length = ((height - 2) * width - 2) * 3
    smooth = tf.zeros([])
    for row in range(3):
        for column in range(3):
            begin = (row * width + column) * 3
            part = centers if row == column == 1 else neighbors
            smooth += part[begin : begin + length]
    smooth = tf.pad(_to_uint8(smooth), [[0, 6]])
    smooth = tf.reshape(smooth, [height - 2, width, 3])[:, : width - 2]
    inner = _blend(smooth, image[1:-1, 1:-1], factor)
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
    square = tf.fill([bottom - top, right - left, 3], np.uint8(FILL))
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
    maps = [
        source_pixels(_matrix(operation, signed, height, width), height, width)
        for signed in (argument, -argument)
    ]
    chosen = tf.gather(
        tf.constant(np.stack(maps)), tf.cast(is_negative, "int32")
    )
    pixels = tf.reshape(image, [height * width, 3])
    pixels = tf.concat([pixels, np.full([1, 3], FILL, np.uint8)], 0)
    return tf.reshape(tf.gather(pixels, chosen), image.shape)


def source_pixels(matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return from which pixel each pixel comes, the nearest.

    Args:
        matrix: float32 [2, 3]: (x, y) of the source from (x, y, 1).
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        int32 [height * width], row * width + column; height * width where
        the source lies outside.
    """
    x = np.arange(width, dtype=np.float32)[np.newaxis]
    y = np.arange(height, dtype=np.float32)[:, np.newaxis]
    column, row = (
        _round_half_away(m[0] * x + m[1] * y + m[2]) for m in matrix
    )  # float32 [height, width] each
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = np.where(is_inside, row * width + column, height * width)
    return source.astype(np.int32).reshape(-1)


def _round_half_away(values: np.ndarray) -> np.ndarray:
    whole = np.trunc(values)
    is_half = np.abs(values - whole) >= 0.5
    return (whole + np.sign(values) * is_half).astype(np.int64)


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


def _as_rows(image: tf.Tensor) -> tf.Tensor:
    """Return [height, width * 3]: what is added or multiplied along it is
    spread several times faster than along an axis of three.
    """
    return tf.reshape(image, [image.shape[0], image.shape[1] * 3])


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
    return _to_uint8(base + factor * difference)


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)
