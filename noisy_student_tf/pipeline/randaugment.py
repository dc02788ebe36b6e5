"""RandAugment as published: N operations of 16, drawn for each image.

Magnitude 10 is the nominal top; the formulas are not clipped above it, and
the paper trained there (its M = 27 keeps the top bit of a posterized image).
Two variants are not what was published: `clipped` counts magnitudes above 10
as 10, and `corrected` contrast blends with the image's mean gray level.

Reference: RandAugment, arXiv 1909.13719.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from noisy_student_tf import config
from noisy_student_tf.pipeline import operations

_NOMINAL_MAGNITUDE = 10.0

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


def apply(
    image: tf.Tensor,
    *,
    num_ops: int,
    magnitude: float,
    translate_pixels: float,
    cutout_pixels: float,
    seed: tf.Tensor,
    is_clipped: bool = False,
    corrects_contrast: bool = False,
) -> tf.Tensor:
    """Apply operations drawn at random, one after the other.

    Args:
        image: uint8 [height, width, 3] in [0, 255], of static shape.
        num_ops: RandAugment's N.
        magnitude: RandAugment's M; 10 is the nominal top.
        translate_pixels: Shift at magnitude 10.
        cutout_pixels: Half the side of cutout's square at magnitude 10.
        seed: int32 or int64 [2]. The same seed gives the same image.
        is_clipped: Count magnitudes above 10 as 10.
        corrects_contrast: Blend with the mean gray level.

    Returns:
        uint8 [height, width, 3] in [0, 255].
    """
    arguments = _arguments(
        magnitude, translate_pixels, cutout_pixels, is_clipped
    )
    functions = _functions(corrects_contrast)
    shape = image.shape
    draws = tf.random.stateless_uniform([num_ops, 4], seed)
    for i in range(num_ops):
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


def apply_one(
    image: tf.Tensor, operation: str, policy: config.PolicyConfig, *, seed: int
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
) -> dict[str, float | int | None]:
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
