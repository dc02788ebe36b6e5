"""RandAugment as published: N operations of 16, drawn for each image.

Magnitude 10 is the nominal top; the formulas are not clipped above it, and
the paper trained there (its M = 27 keeps the top bit of a posterized image).
Two variants are not what was published: `clipped` counts magnitudes above 10
as 10, and `corrected` contrast blends with the image's mean gray level.

Small images are noised many at once, by one compiled program for a step of N:
an operation on 32 x 32 pixels takes XLA some microseconds, and TensorFlow as
long to start. Of large ones each runs the operations that it drew.

Reference: RandAugment, arXiv 1909.13719.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.pipeline.augmentation import kernels, operations

_NOMINAL_MAGNITUDE = 10.0
# Largest images that are noised many at once.
_MAX_SMALL_PIXELS = 64 * 64

Arguments = dict[str, float | int | None]

POINT_OPERATIONS: dict[str, Callable[..., tf.Tensor]] = {
    "autocontrast": operations.autocontrast,
    "equalize": operations.equalize,
    "invert": operations.invert,
    "posterize": operations.posterize,
    "solarize": operations.solarize,
    "solarize_add": operations.solarize_add,
    "color": operations.color,
    "contrast": operations.contrast,
    "brightness": operations.brightness,
    "sharpness": operations.sharpness,
}
# These turn an image either way, with equal chance.
GEOMETRIC_OPERATIONS = (
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
OPERATIONS = (*POINT_OPERATIONS, *GEOMETRIC_OPERATIONS, "cutout")


def level(
    operation: str,
    *,
    magnitude: float,
    translate_pixels: float = 100.0,
    cutout_pixels: float = 40.0,
    is_clipped: bool = False,
) -> float | int | None:
    """Return an operation's argument at a magnitude, its sign left out.

    Args:
        operation: One of `OPERATIONS`.
        magnitude: RandAugment's M.
        translate_pixels: Shift at magnitude 10.
        cutout_pixels: Half the side of cutout's square at magnitude 10.
        is_clipped: Keep to the nominal range.

    Returns:
        Degrees, a blending factor, bits, a threshold or pixels; None where
        the operation has no argument.
    """
    share = magnitude / _NOMINAL_MAGNITUDE
    if is_clipped:
        share = min(share, 1.0)
    enhance = share * 1.8 + 0.1
    levels: dict[str, float | int] = {
        "posterize": int(share * 4),
        "solarize": int(share * 256),
        "solarize_add": int(share * 110),
        "color": enhance,
        "contrast": enhance,
        "brightness": enhance,
        "sharpness": enhance,
        "rotate": share * 30.0,
        "shear_x": share * 0.3,
        "shear_y": share * 0.3,
        "translate_x": share * translate_pixels,
        "translate_y": share * translate_pixels,
        "cutout": int(share * cutout_pixels),
    }
    return levels.get(operation)


def is_small(resolution: int) -> bool:
    """Tell whether `apply` is faster on many images of a size than on one."""
    return resolution * resolution <= _MAX_SMALL_PIXELS


def apply(
    images: tf.Tensor,
    *,
    num_ops: int,
    magnitude: float,
    translate_pixels: float,
    cutout_pixels: float,
    draws: tf.Tensor,
    is_clipped: bool = False,
    corrects_contrast: bool = False,
) -> tf.Tensor:
    """Apply operations drawn at random, one after the other.

    Args:
        images: uint8 [batch, height, width, 3] in [0, 255], of static shape.
        num_ops: RandAugment's N.
        magnitude: RandAugment's M; 10 is the nominal top.
        translate_pixels: Shift at magnitude 10.
        cutout_pixels: Half the side of cutout's square at magnitude 10.
        draws: float32 [batch, num_ops, 4] in [0, 1): of each operation which
            one it is, its sign, and the row and column of cutout's center.
        is_clipped: Count magnitudes above 10 as 10.
        corrects_contrast: Blend with the mean gray level.

    Returns:
        uint8 [batch, height, width, 3] in [0, 255].
    """
    arguments = _arguments(
        magnitude, translate_pixels, cutout_pixels, is_clipped
    )
    if not is_small(max(images.shape[1:3])):
        functions = _functions(corrects_contrast)
        return map_images(
            lambda image, each: _apply_large(image, each, arguments, functions),
            images,
            draws,
        )
    step = _compiled_step(tuple(arguments.items()), corrects_contrast)
    equalize = OPERATIONS.index("equalize")
    for i in range(num_ops):
        chosen = tf.cast(draws[:, i, 0] * len(OPERATIONS), tf.int32)
        tables = _tables(images, chosen == equalize)
        images = step(images, chosen, draws[:, i, 1:], tables)
    return images


def map_images(
    function: Callable[..., tf.Tensor], images: tf.Tensor, *others: tf.Tensor
) -> tf.Tensor:
    """Call a function of each image.

    Args:
        function: Image, and one of each of the others -> image of its shape.
        images: uint8 [batch, height, width, 3].
        *others: [batch, ...].

    Returns:
        uint8 [batch, height, width, 3].
    """
    if images.shape[0] == 1:
        return function(images[0], *(other[0] for other in others))[tf.newaxis]
    return tf.map_fn(
        lambda arguments: function(*arguments),
        (images, *others),
        fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8),
    )


def _apply_large(
    image: tf.Tensor,
    draws: tf.Tensor,
    arguments: Arguments,
    functions: dict[str, Callable[..., tf.Tensor]],
) -> tf.Tensor:
    shape = image.shape
    for i in range(draws.shape[0]):
        chosen = tf.cast(draws[i, 0] * len(OPERATIONS), tf.int32)
        # A switch runs the chosen branch and no other.
        image = tf.switch_case(
            chosen,
            [
                _branch(image, operation, functions, argument, draws[i, 1:])
                for operation, argument in arguments.items()
            ],
        )
        image = tf.ensure_shape(image, shape)
    return image


@functools.cache
def _compiled_step(
    arguments: tuple[tuple[str, float | int | None], ...],
    corrects_contrast: bool,
) -> Callable[..., tf.Tensor]:
    """Return a function that applies one operation to each image of a batch.

    It is shared by all streams of a policy, and compiled once for a shape.
    """

    def apply_one_of(
        image: tf.Tensor, chosen: tf.Tensor, draws: tf.Tensor, table: tf.Tensor
    ) -> tf.Tensor:
        functions = {
            **_functions(corrects_contrast),
            "equalize": lambda image: kernels.lookup(image, table),
        }
        return tf.switch_case(
            chosen,
            [
                _branch(image, operation, functions, argument, draws)
                for operation, argument in arguments
            ],
        )

    @kernels.compiled
    def step(
        images: tf.Tensor,
        chosen: tf.Tensor,
        draws: tf.Tensor,
        tables: tf.Tensor,
    ) -> tf.Tensor:
        return map_images(apply_one_of, images, chosen, draws, tables)

    return step


def _tables(images: tf.Tensor, is_equalized: tf.Tensor) -> tf.Tensor:
    """Return equalize's tables, uint8 [batch, 768], 0 where not wanted."""
    size = [images.shape[0], 3 * kernels.NUM_VALUES]

    def of_some() -> tf.Tensor:
        places = tf.where(is_equalized)
        found = tf.gather_nd(images, places)
        return tf.scatter_nd(
            places,
            operations.equalize_tables(found),
            tf.constant(size, tf.int64),
        )

    return tf.cond(
        tf.reduce_any(is_equalized), of_some, lambda: tf.zeros(size, tf.uint8)
    )


def apply_one(
    image: tf.Tensor, operation: str, policy: configs.PolicyConfig, *, seed: int
) -> tf.Tensor:
    """Apply one operation as a policy would, for looking at it.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        operation: One of `OPERATIONS`.
        policy: Magnitude and constants are read.
        seed: Of its sign and place.

    Returns:
        uint8 [height, width, 3].
    """
    arguments = _arguments(
        policy.magnitude,
        policy.translate_pixels,
        policy.cutout_pixels,
        policy.level_range == "clipped",
    )
    functions = _functions(policy.contrast == "corrected")
    draws = tf.random.stateless_uniform([3], [seed, 0])
    return _branch(image, operation, functions, arguments[operation], draws)()


def _arguments(
    magnitude: float,
    translate_pixels: float,
    cutout_pixels: float,
    is_clipped: bool,
) -> Arguments:
    return {
        operation: level(
            operation,
            magnitude=magnitude,
            translate_pixels=translate_pixels,
            cutout_pixels=cutout_pixels,
            is_clipped=is_clipped,
        )
        for operation in OPERATIONS
    }


def _functions(corrects_contrast: bool) -> dict[str, Callable[..., tf.Tensor]]:
    if corrects_contrast:
        return {**POINT_OPERATIONS, "contrast": operations.corrected_contrast}
    return POINT_OPERATIONS


def _branch(
    image: tf.Tensor,
    operation: str,
    functions: dict[str, Callable[..., tf.Tensor]],
    argument: Any,
    draws: tf.Tensor,
) -> Callable[[], tf.Tensor]:
    """Return a function without arguments that applies one operation.

    Args:
        image: uint8 [height, width, 3].
        operation: One of `OPERATIONS`.
        functions: As `POINT_OPERATIONS`.
        argument: What `level` returned.
        draws: float32 [3] in [0, 1): sign, center row, center column.
    """

    def run() -> tf.Tensor:
        if operation in GEOMETRIC_OPERATIONS:
            return operations.geometric(
                image, operation, argument, is_negative=draws[0] < 0.5
            )
        if operation == "cutout":
            return operations.cutout(image, argument, draws[1:])
        function = functions[operation]
        return (
            function(image) if argument is None else function(image, argument)
        )

    return run
