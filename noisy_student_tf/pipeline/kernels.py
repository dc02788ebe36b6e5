"""Loops over pixels that XLA compiles, where TensorFlow's operations are slow.

On a CPU `tf.gather` of a byte takes 5 ns and a chain of element-wise
operations writes each of its results to memory; compiled, a chain is one loop.
Each function here is compiled once for every image size of a process, in some
tenths of a second, and shared by all streams.

XLA may contract a product and a sum into one rounding, or two constant factors
into one, which moves values across a whole number now and then; `_rounded`
keeps the steps apart, so that pixels equal the published ones.
"""

import numpy as np
import tensorflow as tf

FILL = 128
NUM_VALUES = 256
# What tf.image.rgb_to_grayscale multiplies by.
_GRAY_WEIGHTS = (
    np.float32(0.2989),
    np.float32(0.5870),
    np.float32(0.1140),
)
# Beyond every product of a pixel and a factor.
_BEYOND = 1e30

_compiled = tf.function(jit_compile=True, autograph=False)


@_compiled
def lookup(image: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Replace every value by its entry in its channel's table.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        table: uint8 [768], 256 entries for each channel.

    Returns:
        uint8 [height, width, 3].
    """
    return tf.reshape(tf.gather(table, _entries(image)), image.shape)


@_compiled
def table_entries(image: tf.Tensor) -> tf.Tensor:
    """Return which of a table's 768 entries each value has.

    Args:
        image: uint8 [height, width, 3] in [0, 255].

    Returns:
        int32 [height * width * 3].
    """
    return tf.reshape(_entries(image), [-1])


def _entries(image: tf.Tensor) -> tf.Tensor:
    height, width = image.shape[:2]
    first = np.tile(np.arange(3, dtype=np.int32) * NUM_VALUES, width)
    # Rows of width * 3 vectorize; an axis of three does not.
    values = tf.reshape(image, [height, width * 3])
    return tf.cast(values, tf.int32) + first


@_compiled
def value_range(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return each channel's least and largest value, uint8 [3] each."""
    height, width = image.shape[:2]
    rows = tf.reshape(image, [height, width * 3])
    low = tf.reshape(tf.reduce_min(rows, 0), [width, 3])
    high = tf.reshape(tf.reduce_max(rows, 0), [width, 3])
    return tf.reduce_min(low, 0), tf.reduce_max(high, 0)


@_compiled
def gray_blend(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blend with the gray image.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        factor: float32 []; 0 is gray, 1 the image, more extrapolates.

    Returns:
        uint8 [height, width, 3].
    """
    return to_uint8(blend(gray(image), tf.cast(image, tf.float32), factor))


def gray(image: tf.Tensor) -> tf.Tensor:
    """Return whole gray values as tf.image.rgb_to_grayscale computes them.

    Args:
        image: uint8 [height, width, 3] in [0, 255].

    Returns:
        float32 [height, width, 1] in [0, 255].
    """
    shares = _rounded(tf.cast(image, tf.float32) * np.float32(1 / 255))
    red, green, blue = _GRAY_WEIGHTS
    # In the order of the published matrix product.
    values = _rounded(shares[..., 0] * red) + _rounded(shares[..., 1] * green)
    values = values + _rounded(shares[..., 2] * blue)
    values = tf.cast(_rounded(values) * 255.5, tf.uint8)
    return tf.cast(values[..., tf.newaxis], tf.float32)


@_compiled
def smooth_blend(
    neighbors: tf.Tensor,
    centers: tf.Tensor,
    image: tf.Tensor,
    factor: tf.Tensor,
) -> tf.Tensor:
    """Blend the inner pixels with the image smoothed by 3 x 3 weights.

    Args:
        neighbors: float32 [height, width * 3], values times 1 / 13.
        centers: float32 [height, width * 3], values times 5 / 13.
        image: uint8 [height, width * 3] in [0, 255].
        factor: float32 []; 0 is smooth, 1 the image.

    Returns:
        uint8 [height - 2, (width - 2) * 3].
    """
    height, length = image.shape[0] - 2, image.shape[1] - 6

    def shifted(values: tf.Tensor, row: int, column: int) -> tf.Tensor:
        first = column * 3
        return values[row : row + height, first : first + length]

    smooth = tf.zeros([])
    for row in range(3):
        for column in range(3):
            part = centers if row == column == 1 else neighbors
            smooth += shifted(part, row, column)
    smooth = tf.floor(tf.clip_by_value(smooth, 0.0, 255.0))
    inner = tf.cast(shifted(image, 1, 1), tf.float32)
    return to_uint8(blend(smooth, inner, factor))


AffineParts = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@_compiled
def source_pixels(
    column_parts: AffineParts, row_parts: AffineParts
) -> tf.Tensor:
    """Return from which pixel each pixel of an affine map comes, the nearest.

    Args:
        column_parts: The source's column is the rounded sum, in this order,
            of float32 [width] by column, float32 [height] by row, and a
            float32 [] offset; halves are rounded away from zero.
        row_parts: The source's row, likewise.

    Returns:
        int32 [height * width], row * width + column; height * width where
        the source lies outside.
    """
    (width,), (height,) = column_parts[0].shape, column_parts[1].shape
    column, row = (
        _round_half_away(by_column[tf.newaxis] + by_row[:, tf.newaxis] + offset)
        for by_column, by_row, offset in (column_parts, row_parts)
    )  # float32 [height, width] each
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = tf.where(is_inside, row * width + column, float(height * width))
    return tf.reshape(tf.cast(source, tf.int32), [-1])


@_compiled
def take_pixels(image: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
    """Take each pixel from another one.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        source: int32 [height * width]; height * width stands for gray, 128.

    Returns:
        uint8 [height, width, 3].
    """
    pixels = tf.reshape(image, [-1, 3])
    pixels = tf.concat([pixels, np.full([1, 3], FILL, np.uint8)], 0)
    return tf.reshape(tf.gather(pixels, source), image.shape)


def _round_half_away(values: tf.Tensor) -> tf.Tensor:
    whole = tf.cast(tf.cast(values, tf.int32), tf.float32)
    is_half = tf.cast(tf.abs(values - whole) >= 0.5, tf.float32)
    return whole + tf.sign(values) * is_half


def blend(first: tf.Tensor, second: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Return first + factor * (second - first), float32, unclipped."""
    return first + _rounded(factor * (second - first))


def _rounded(product: tf.Tensor) -> tf.Tensor:
    # A limit on one side alone is optimized away where the sign is known.
    return tf.clip_by_value(product, -_BEYOND, _BEYOND)


def to_uint8(values: tf.Tensor) -> tf.Tensor:
    """Clip float pixels to [0, 255] and cut off the fraction."""
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)
