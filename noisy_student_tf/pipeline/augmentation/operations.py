"""The image operations of RandAugment, as published, pixel by pixel.

Images are uint8 [height, width, 3] in [0, 255] of static shape; arguments are
Python numbers, so that whatever follows from them is computed once. Arguments
beyond an operation's nominal range do what the published code does with them.

Written for speed on CPU, of loops that XLA compiles (`kernels`). All but
`equalize` can be part of a larger compiled function.

An operation is added here alone: its function, and its entry in `OPERATIONS`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from noisy_student_tf.pipeline.augmentation import kernels

_SOLARIZE_ADD_THRESHOLD = 128


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretch each channel's values to [0, 255]."""
    return kernels.stretch(image)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Make each channel's histogram as flat as a table of values can."""
    return kernels.lookup(image, equalize_tables(image[tf.newaxis])[0])


def equalize_tables(images: tf.Tensor) -> tf.Tensor:
    """Return what `equalize` makes of each value, for `kernels.lookup`.

    Histograms are what XLA is slow at.

    Args:
        images: uint8 [batch, height, width, 3]; the batch may be unknown.

    Returns:
        uint8 [batch, 768], 256 entries for each channel.
    """
    height, width = images.shape[1:3]
    pixels = tf.reshape(images, [-1, height * width, 3])
    channels = tf.reshape(tf.transpose(pixels, [0, 2, 1]), [-1, height * width])
    histograms = tf.raw_ops.DenseBincount(
        input=tf.cast(channels, tf.int32),
        size=kernels.NUM_VALUES,
        weights=tf.constant([], tf.int32),
        binary_output=False,
    )
    tables = equalize_table(histograms)
    return tf.reshape(tables, [-1, 3 * kernels.NUM_VALUES])


def equalize_table(histogram: tf.Tensor) -> tf.Tensor:
    """Return the new value of each value.

    Args:
        histogram: int32 [..., 256], pixels of a channel that have a value.

    Returns:
        uint8 [..., 256].
    """
    values = tf.range(kernels.NUM_VALUES)
    top = tf.reduce_max(tf.where(histogram > 0, values, 0), -1, keepdims=True)
    below = tf.cumsum(histogram, -1, exclusive=True)
    # Pixels below the largest value that occurs.
    num_lower = tf.gather(below, top, batch_dims=len(top.shape) - 1)
    step = num_lower // 255
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
    return kernels.invert_from(
        image, tf.constant(threshold % kernels.NUM_VALUES, tf.uint8)
    )


def solarize_add(image: tf.Tensor, addition: int) -> tf.Tensor:
    """Add to the values below 128, and clip them."""
    return kernels.add_below(
        image,
        tf.constant(_SOLARIZE_ADD_THRESHOLD, tf.uint8),
        tf.constant(addition, tf.int32),
    )


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
    return _blend(tf.constant(float(int(constant))), image, factor)


def corrected_contrast(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with the mean of the gray image, as PIL does; 0 is constant.

    Not what was published: see `contrast`.
    """
    mean = tf.reduce_mean(kernels.gray(image))
    return _blend(tf.floor(mean + 0.5), image, factor)


def brightness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with black; factor 0 is black."""
    return _blend(tf.constant(0.0), image, factor)


def sharpness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blend with the smoothed image; factor 0 is smooth.

    The border of one pixel stays as it is.
    """
    if factor == 1.0:
        return image
    return kernels.smooth_blend(
        kernels.products(image, tf.constant(1 / 13)),
        kernels.products(image, tf.constant(5 / 13)),
        image,
        tf.constant(factor, tf.float32),
    )


def cutout(image: tf.Tensor, pad: int, center: tf.Tensor) -> tf.Tensor:
    """Cover a square with gray.

    Args:
        image: uint8 [height, width, 3].
        pad: Half the side of the square, in pixels.
        center: float32 [2] in [0, 1), row and column as shares of height and
            width; the square may overlap the border.
    """
    size = np.array(image.shape[:2], np.float32)
    middle = tf.cast(center * size, tf.int32)
    return kernels.fill_square(image, middle, tf.constant(pad, tf.int32))


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
    both = tf.constant(
        np.stack(
            [
                _sources(operation, signed, height, width)
                for signed in (argument, -argument)
            ]
        )
    )
    sources = tf.gather(both, tf.cast(is_negative, tf.int32))
    return kernels.take_pixels(image, sources)


@functools.cache
def _sources(
    operation: str, argument: float, height: int, width: int
) -> np.ndarray:
    """Return which pixel each pixel comes from: int32 [height, width].

    It is row * width + column of the nearest one, -1 where it lies outside.
    Summed in float32 and in this order, halves rounded away from zero, as the
    published projective transform does.
    """
    matrix = _matrix(operation, argument, height, width)
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, np.newaxis]
    places = np.stack([row[0] * x + row[1] * y + row[2] for row in matrix])
    whole = np.trunc(places)
    is_half = np.abs(places - whole) >= 0.5
    column, row = (whole + np.sign(places) * is_half).astype(np.int32)
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.where(is_inside, row * width + column, -1).astype(np.int32)


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


def _blend(constant: tf.Tensor, image: tf.Tensor, factor: float) -> tf.Tensor:
    if factor == 1.0:
        return image
    return kernels.constant_blend(
        constant, image, tf.constant(factor, tf.float32)
    )


@dataclasses.dataclass(frozen=True)
class Strength:
    """What arguments follow from.

    Attributes:
        share: RandAugment's magnitude over its nominal top.
        translate_pixels: Shift at share 1.
        cutout_pixels: Half the side of cutout's square at share 1.
    """

    share: float
    translate_pixels: float
    cutout_pixels: float


@dataclasses.dataclass(frozen=True)
class Operation:
    """One of RandAugment's operations.

    Attributes:
        function: Image, the argument where there is one, and what is drawn ->
            image.
        level: Its argument: degrees, a blending factor, bits, a threshold or
            pixels; None where it has none.
        draws: The function is also given a sign that turns the argument
            around, or the center of a place.
    """

    function: Callable[..., tf.Tensor]
    level: Callable[[Strength], float | int | None] = lambda _: None
    draws: Literal["nothing", "sign", "center"] = "nothing"

    def apply(
        self, image: tf.Tensor, argument: Any, draws: tf.Tensor
    ) -> tf.Tensor:
        """Apply it to an image.

        Args:
            image: uint8 [height, width, 3] in [0, 255].
            argument: What `level` returned.
            draws: float32 [3] in [0, 1): sign, center row, center column.
        """
        arguments = [] if argument is None else [argument]
        if self.draws == "sign":
            arguments.append(draws[0] < 0.5)
        elif self.draws == "center":
            arguments.append(draws[1:])
        return self.function(image, *arguments)


def _geometric(name: str, level: Callable[[Strength], float]) -> Operation:
    return Operation(
        lambda image, argument, is_negative: geometric(
            image, name, argument, is_negative
        ),
        level,
        "sign",
    )


def _enhance(strength: Strength) -> float:
    return strength.share * 1.8 + 0.1


# In the published order, which draws follow.
OPERATIONS = {
    "autocontrast": Operation(autocontrast),
    "equalize": Operation(equalize),
    "invert": Operation(invert),
    "posterize": Operation(posterize, lambda s: int(s.share * 4)),
    "solarize": Operation(solarize, lambda s: int(s.share * 256)),
    "solarize_add": Operation(solarize_add, lambda s: int(s.share * 110)),
    "color": Operation(color, _enhance),
    "contrast": Operation(contrast, _enhance),
    "brightness": Operation(brightness, _enhance),
    "sharpness": Operation(sharpness, _enhance),
    "rotate": _geometric("rotate", lambda s: s.share * 30.0),
    "shear_x": _geometric("shear_x", lambda s: s.share * 0.3),
    "shear_y": _geometric("shear_y", lambda s: s.share * 0.3),
    "translate_x": _geometric(
        "translate_x", lambda s: s.share * s.translate_pixels
    ),
    "translate_y": _geometric(
        "translate_y", lambda s: s.share * s.translate_pixels
    ),
    "cutout": Operation(
        cutout, lambda s: int(s.share * s.cutout_pixels), "center"
    ),
}
