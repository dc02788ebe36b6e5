"""Loops over pixels that XLA compiles, where TensorFlow's operations are slow.

On a CPU `tf.gather` of a byte takes 5 ns and a chain of element-wise
operations writes each of its results to memory; compiled, a chain is one loop.
Each function here is compiled once for every image size of a process, in some
tenths of a second, and shared by all streams; called by a function that is
compiled itself, it becomes a part of that one.

Loops run over rows of width * 3 bytes: an inner loop over three channels is not
vectorized.

XLA may contract a product and a sum into one rounding, or two constant factors
into one, which moves values across a whole number now and then; `rounded`
keeps the steps apart, so that pixels equal the published ones.

TensorFlow's build for TPUs cannot compile for its host's processors. There the
same functions run as they are traced: the same pixels, more slowly.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

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


def compiled(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Return a function that XLA compiles where it can.

    Which it is, is decided in the first call: nothing runs at import.
    """
    by_xla = tf.function(function, jit_compile=True, autograph=False)
    as_traced = tf.function(function, autograph=False)

    @functools.wraps(function)
    def call(*arguments: tf.Tensor) -> tf.Tensor:
        return (by_xla if can_compile() else as_traced)(*arguments)

    return call


@functools.cache
def can_compile() -> bool:
    """Tell whether this TensorFlow compiles for the host's processors."""
    # Out of whatever graph is being traced.
    with tf.init_scope(), tf.device("/cpu:0"):
        probe = tf.function(lambda value: value + 1, jit_compile=True)
        try:
            probe(tf.constant(0))
        except tf.errors.NotFoundError as error:
            # "could not find registered transfer manager for platform Host"
            logging.warning(
                "XLA does not compile for this host's processors: images are "
                "noised by plain operations, more slowly (%s).",
                error.message,
            )
            return False
    return True


@compiled
def lookup(image: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Replace every value by its entry in its channel's table.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        table: uint8 [768], 256 entries for each channel.

    Returns:
        uint8 [height, width, 3].
    """
    first = np.tile(np.arange(3, dtype=np.int32) * NUM_VALUES, image.shape[1])
    entries = tf.cast(_rows(image), tf.int32) + first
    return tf.reshape(tf.gather(table, entries), image.shape)


def _rows(image: tf.Tensor) -> tf.Tensor:
    height, width = image.shape[:2]
    return tf.reshape(image, [height, width * 3])


@compiled
def stretch(image: tf.Tensor) -> tf.Tensor:
    """Stretch each channel's values to [0, 255].

    Args:
        image: uint8 [height, width, 3] in [0, 255].

    Returns:
        uint8 [height, width, 3].
    """
    width = image.shape[1]
    rows = _rows(image)
    low, high = (
        tf.cast(reduce(tf.reshape(reduce(rows, 0), [width, 3]), 0), tf.float32)
        for reduce in (tf.reduce_min, tf.reduce_max)
    )  # [3] each
    varies = high > low
    # A constant channel stays as it is: scale 1, offset 0.
    scale = tf.where(varies, 255.0 / tf.where(varies, high - low, 1.0), 1.0)
    offset = tf.where(varies, rounded(-low * scale), 0.0)
    scale, offset = (tf.tile(part, [width]) for part in (scale, offset))
    values = rounded(tf.cast(rows, tf.float32) * scale) + offset
    return tf.reshape(to_uint8(values), image.shape)


@compiled
def invert_from(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Invert the values from a threshold, uint8 [], on."""
    return tf.where(image < threshold, image, np.uint8(255) - image)


@compiled
def add_below(
    image: tf.Tensor, threshold: tf.Tensor, addition: tf.Tensor
) -> tf.Tensor:
    """Add an int32 [] to the values below a threshold, uint8 [], clipped."""
    added = tf.minimum(tf.cast(image, tf.int32) + addition, 255)
    return tf.where(image < threshold, tf.cast(added, tf.uint8), image)


@compiled
def constant_blend(
    constant: tf.Tensor, image: tf.Tensor, factor: tf.Tensor
) -> tf.Tensor:
    """Blend with one value; factor 0 is the value, 1 the image.

    Args:
        constant: float32 [] in [0, 255].
        image: uint8 [height, width, 3] in [0, 255].
        factor: float32 [].

    Returns:
        uint8 [height, width, 3].
    """
    return to_uint8(blend(constant, tf.cast(image, tf.float32), factor))


@compiled
def fill_square(
    image: tf.Tensor, center: tf.Tensor, pad: tf.Tensor
) -> tf.Tensor:
    """Cover a square, which may overlap the border, with gray.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        center: int32 [2], row and column.
        pad: int32 [], half the side.

    Returns:
        uint8 [height, width, 3].
    """
    height, width = image.shape[:2]
    rows = np.arange(height)
    columns = np.repeat(np.arange(width), 3)
    is_row, is_column = (
        (places >= middle - pad) & (places < middle + pad)
        for places, middle in zip(
            (rows, columns), tf.unstack(center), strict=True
        )
    )
    is_inside = is_row[:, tf.newaxis] & is_column[tf.newaxis]
    covered = tf.where(is_inside, np.uint8(FILL), _rows(image))
    return tf.reshape(covered, image.shape)


@compiled
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
    shares = rounded(tf.cast(image, tf.float32) * np.float32(1 / 255))
    red, green, blue = _GRAY_WEIGHTS
    # In the order of the published matrix product.
    values = rounded(shares[..., 0] * red) + rounded(shares[..., 1] * green)
    values = values + rounded(shares[..., 2] * blue)
    values = tf.cast(rounded(values) * 255.5, tf.uint8)
    return tf.cast(values[..., tf.newaxis], tf.float32)


@compiled
def products(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Return all values times a factor: float32 [height, width * 3]."""
    return rounded(tf.cast(_rows(image), tf.float32) * factor)


@compiled
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
        image: uint8 [height, width, 3] in [0, 255].
        factor: float32 []; 0 is smooth, 1 the image.

    Returns:
        uint8 [height, width, 3]; the border of one pixel is the image's.
    """
    rows = _rows(image)
    height, length = rows.shape[0] - 2, rows.shape[1] - 6

    def shifted(values: tf.Tensor, row: int, column: int) -> tf.Tensor:
        first = column * 3
        return values[row : row + height, first : first + length]

    smooth = tf.zeros([])
    for row in range(3):
        for column in range(3):
            part = centers if row == column == 1 else neighbors
            smooth += shifted(part, row, column)
    smooth = tf.floor(tf.clip_by_value(smooth, 0.0, 255.0))
    inner = tf.cast(shifted(rows, 1, 1), tf.float32)
    inner = to_uint8(blend(smooth, inner, factor))
    middle = tf.concat([rows[1:-1, :3], inner, rows[1:-1, -3:]], 1)
    return tf.reshape(tf.concat([rows[:1], middle, rows[-1:]], 0), image.shape)


@compiled
def take_pixels(image: tf.Tensor, sources: tf.Tensor) -> tf.Tensor:
    """Take each pixel from another place.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        sources: int32 [height, width], row * width + column; -1 stands for
            gray, 128.

    Returns:
        uint8 [height, width, 3].
    """
    moved = tf.gather(tf.reshape(image, [-1, 3]), tf.maximum(sources, 0))
    is_outside = (sources < 0)[..., tf.newaxis]
    return tf.where(is_outside, np.uint8(FILL), moved)


@compiled
def reflected_window(
    image: tf.Tensor, corner: tf.Tensor, pad: tf.Tensor
) -> tf.Tensor:
    """Reflect pixels around an image and cut its size out.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        corner: int32 [2], row and column of the window in the padded image.
        pad: int32 [], pixels on each side.

    Returns:
        uint8 [height, width, 3].
    """
    rows, columns = (
        (size - 1) - tf.abs((size - 1) - tf.abs(tf.range(size) + first - pad))
        for size, first in zip(image.shape[:2], tf.unstack(corner), strict=True)
    )
    sources = rows[:, tf.newaxis] * image.shape[1] + columns
    return take_pixels(image, sources)


def blend(first: tf.Tensor, second: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Return first + factor * (second - first), float32, unclipped."""
    return first + rounded(factor * (second - first))


def rounded(product: tf.Tensor) -> tf.Tensor:
    """Return a float32 product, and keep XLA from contracting it."""
    # A limit on one side alone is optimized away where the sign is known.
    return tf.clip_by_value(product, -_BEYOND, _BEYOND)


def to_uint8(values: tf.Tensor) -> tf.Tensor:
    """Clip float pixels to [0, 255] and cut off the fraction."""
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)
