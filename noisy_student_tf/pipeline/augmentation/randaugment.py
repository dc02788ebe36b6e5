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

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.pipeline.augmentation import kernels, operations

_NOMINAL_MAGNITUDE = 10.0
# Largest images that are noised many at once.
_MAX_SMALL_PIXELS = 64 * 64

Levels = dict[str, float | int | None]


def levels(policy: configs.PolicyConfig) -> Levels:
    """Return each operation's argument, its sign left out.

    Args:
        policy: Magnitude, its range and pixels are read.
    """
    share = policy.magnitude / _NOMINAL_MAGNITUDE
    if policy.level_range == "clipped":
        share = min(share, 1.0)
    strength = operations.Strength(
        share, policy.translate_pixels, policy.cutout_pixels
    )
    return {
        name: operation.level(strength)
        for name, operation in operations.OPERATIONS.items()
    }


def is_small(resolution: int) -> bool:
    """Tell whether `apply` is faster on many images of a size than on one."""
    return resolution * resolution <= _MAX_SMALL_PIXELS


def apply(
    images: tf.Tensor, policy: configs.PolicyConfig, draws: tf.Tensor
) -> tf.Tensor:
    """Apply operations drawn at random, one after the other.

    Args:
        images: uint8 [batch, height, width, 3] in [0, 255], of static shape.
        policy: RandAugment's N and M, and what belongs to them.
        draws: float32 [batch, num_ops, 4] in [0, 1): of each operation which
            one it is, its sign, and the row and column of cutout's center.

    Returns:
        uint8 [batch, height, width, 3] in [0, 255].
    """
    found, available = levels(policy), _operations(policy.contrast)
    if not is_small(max(images.shape[1:3])):
        return map_images(
            lambda image, each: _apply_large(image, each, found, available),
            images,
            draws,
        )
    step = _compiled_step(tuple(found.items()), policy.contrast)
    names = list(available)
    for i in range(policy.num_ops):
        chosen = tf.cast(draws[:, i, 0] * len(names), tf.int32)
        tables = _tables(images, chosen == names.index("equalize"))
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
    levels: Levels,
    available: dict[str, operations.Operation],
) -> tf.Tensor:
    shape = image.shape
    for i in range(draws.shape[0]):
        chosen = tf.cast(draws[i, 0] * len(available), tf.int32)
        image = _apply_chosen(image, chosen, draws[i, 1:], levels, available)
        image = tf.ensure_shape(image, shape)
    return image


def _apply_chosen(
    image: tf.Tensor,
    chosen: tf.Tensor,
    draws: tf.Tensor,
    levels: Levels,
    available: dict[str, operations.Operation],
) -> tf.Tensor:
    # A switch runs the chosen branch and no other.
    return tf.switch_case(
        chosen,
        [
            functools.partial(operation.apply, image, levels[name], draws)
            for name, operation in available.items()
        ],
    )


@functools.cache
def _compiled_step(
    levels: tuple[tuple[str, float | int | None], ...], contrast: str
) -> Callable[..., tf.Tensor]:
    """Return a function that applies one operation to each image of a batch.

    It is shared by all streams of a policy, and compiled once for a shape.
    """

    def apply_one_of(
        image: tf.Tensor, chosen: tf.Tensor, draws: tf.Tensor, table: tf.Tensor
    ) -> tf.Tensor:
        available = {
            **_operations(contrast),
            "equalize": operations.Operation(
                lambda image: kernels.lookup(image, table)
            ),
        }
        return _apply_chosen(image, chosen, draws, dict(levels), available)

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
        operation: One of `operations.OPERATIONS`.
        policy: Magnitude and constants are read.
        seed: Of its sign and place.

    Returns:
        uint8 [height, width, 3].
    """
    draws = tf.random.stateless_uniform([3], [seed, 0])
    available = _operations(policy.contrast)
    return available[operation].apply(image, levels(policy)[operation], draws)


def _operations(contrast: str) -> dict[str, operations.Operation]:
    """Return the operations, with published or corrected contrast."""
    if contrast == "published":
        return operations.OPERATIONS
    corrected = dataclasses.replace(
        operations.OPERATIONS["contrast"],
        function=operations.corrected_contrast,
    )
    return {**operations.OPERATIONS, "contrast": corrected}
