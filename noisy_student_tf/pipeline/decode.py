"""Encoded pictures to pixels, inside tf.data: the published crops.

Both crops resize with TensorFlow 1's bicubic kernel (no half-pixel centers,
no antialiasing), which the published models were trained and tested with.
"""

from collections.abc import Callable
from typing import Literal

import tensorflow as tf

TestCrop = Literal["center", "whole"]

# Pixels that the test crop leaves out, at the model's resolution.
CROP_PADDING = 32
_MARGIN_PIXELS = 1
# The published training crop.
_AREA_RANGE = (0.08, 1.0)
_ASPECT_RATIO_RANGE = (3 / 4, 4 / 3)
_MIN_OBJECT_COVERED = 0.1
_MAX_ATTEMPTS = 10


def test_crop(small_image_strides: bool) -> TestCrop:
    """Return how a model's test images are cut: small ones are taken whole."""
    return "whole" if small_image_strides else "center"


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a picture as shards hold it: JPEG, PNG, WebP or BMP.

    Stored pictures are upright, opaque and of 8 bits (`records.pictures`), so
    that a stream is built in no time. Files as they come are decoded by
    `decoders.decode`, to the same pixels. ImageNet's own records, read where
    they lie, are decoded here too: without orientation, as published.

    Args:
        encoded: string [].

    Returns:
        uint8 [height, width, 3] in [0, 255].
    """
    image = tf.cond(
        tf.strings.substr(encoded, 0, 2) == b"BM",
        lambda: _decode_bmp(encoded),
        lambda: tf.io.decode_image(encoded, 3, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    # This decoder cannot convert: gray is repeated, opacity left out.
    image = tf.io.decode_bmp(encoded)
    return tf.cond(
        tf.shape(image)[2] == 1,
        lambda: tf.repeat(image, 3, axis=2),
        lambda: image[..., :3],
    )


def decode_box(
    encoded: tf.Tensor,
    choose_box: Callable[[tf.Tensor], tf.Tensor],
    *,
    min_side: int | None = None,
) -> tf.Tensor:
    """Decode a part of a picture; of a JPEG nothing else is decoded.

    Args:
        encoded: string [].
        choose_box: Given int32 [2] (height, width), returns int32 [4]: top,
            left, height and width of the part.
        min_side: JPEGs may be decoded at a part of their size, as long as
            the box's sides keep so many pixels. None: at their own.

    Returns:
        uint8 [box height, box width, 3] in [0, 255].
    """

    def from_jpeg() -> tf.Tensor:
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        box = choose_box(size)
        if min_side is None:
            return full_size(size, box)
        return _decode_scaled(encoded, size, box, min_side, full_size)

    def full_size(size: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
        # Color is interpolated from neighbors: without a margin the last
        # column differs from the same column of the whole picture.
        begin = tf.maximum(box[:2] - _MARGIN_PIXELS, 0)
        end = tf.minimum(box[:2] + box[2:] + _MARGIN_PIXELS, size)
        part = tf.image.decode_and_crop_jpeg(
            encoded, tf.concat([begin, end - begin], 0), channels=3
        )
        return _cut(part, tf.concat([box[:2] - begin, box[2:]], 0))

    def from_other() -> tf.Tensor:
        image = decode(encoded)
        return _cut(image, choose_box(tf.shape(image)[:2]))

    image = tf.cond(tf.io.is_jpeg(encoded), from_jpeg, from_other)
    return tf.ensure_shape(image, [None, None, 3])


def _decode_scaled(
    encoded: tf.Tensor,
    size: tf.Tensor,
    box: tf.Tensor,
    min_side: int,
    full_size: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Decode a box at 1, 1/2, 1/4 or 1/8 of the size.

    The decoder's inverse cosine transform then computes that many pixels
    only; of all of the picture, since it cannot crop and scale at once.
    """
    spare = tf.reduce_min(box[2:]) // min_side

    def scaled(ratio: int) -> Callable[[], tf.Tensor]:
        def decode_part() -> tf.Tensor:
            image = tf.io.decode_jpeg(encoded, channels=3, ratio=ratio)
            begin = box[:2] // ratio
            extent = tf.minimum(box[2:] // ratio, tf.shape(image)[:2] - begin)
            return _cut(image, tf.concat([begin, extent], 0))

        return decode_part

    index = tf.cast(spare >= 2, tf.int32)
    index += tf.cast(spare >= 4, tf.int32) + tf.cast(spare >= 8, tf.int32)
    return tf.switch_case(
        index,
        [lambda: full_size(size, box), scaled(2), scaled(4), scaled(8)],
    )


def _cut(image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    return tf.slice(
        image, tf.concat([box[:2], [0]], 0), tf.concat([box[2:], [3]], 0)
    )


def center_box(size: tf.Tensor, *, resolution: int) -> tf.Tensor:
    """Return the published test crop.

    A centered square whose side is resolution / (resolution + 32) of the
    short edge.

    Args:
        size: int32 [2], height and width of the picture.
        resolution: Side of the model's images in pixels.

    Returns:
        int32 [4]: top, left, height, width.
    """
    share = resolution / (resolution + CROP_PADDING)
    short_edge = tf.cast(tf.reduce_min(size), tf.float32)
    side = tf.maximum(tf.cast(share * short_edge, tf.int32), 1)
    offset = (size - side + 1) // 2
    return tf.stack([offset[0], offset[1], side, side])


def random_box(
    size: tf.Tensor, *, resolution: int, seed: tf.Tensor
) -> tf.Tensor:
    """Draw the published training crop.

    Where ten draws give no crop that is smaller than the picture, it is the
    test crop.

    Args:
        size: int32 [2], height and width of the picture.
        resolution: Side of the model's images in pixels.
        seed: int32 [2].

    Returns:
        int32 [4]: top, left, height, width.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([size, [3]], 0),
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed,
        min_object_covered=_MIN_OBJECT_COVERED,
        aspect_ratio_range=_ASPECT_RATIO_RANGE,
        area_range=_AREA_RANGE,
        max_attempts=_MAX_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.cond(
        tf.reduce_all(extent[:2] == size),
        lambda: center_box(size, resolution=resolution),
        lambda: tf.concat([begin[:2], extent[:2]], 0),
    )


def resize(image: tf.Tensor, resolution: int) -> tf.Tensor:
    """Resize to a square as TensorFlow 1 does.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        resolution: Side of the result in pixels.

    Returns:
        float32 [resolution, resolution, 3]; values overshoot [0, 255]. An
        image of this size already keeps its pixels.
    """
    return resize_all(image[tf.newaxis], resolution)[0]


def resize_all(images: tf.Tensor, resolution: int) -> tf.Tensor:
    """Resize images of one size, as `resize` does.

    Args:
        images: uint8 [batch, height, width, 3] in [0, 255].
        resolution: Side of the results in pixels.

    Returns:
        float32 [batch, resolution, resolution, 3].
    """
    return tf.raw_ops.ResizeBicubic(
        images=images,
        size=[resolution, resolution],
        align_corners=False,
        half_pixel_centers=False,
    )


def to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Clip float pixels to [0, 255] and cut off the fraction, as published."""
    return tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)


def resize_to_uint8(image: tf.Tensor, resolution: int) -> tf.Tensor:
    """Resize to a square of bytes: uint8 [resolution, resolution, 3].

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        resolution: Side of the result in pixels.
    """
    # Small images mostly have their size, and resizing costs what decoding
    # does.
    resized = tf.cond(
        tf.reduce_all(tf.shape(image)[:2] == resolution),
        lambda: image,
        lambda: to_uint8(resize(image, resolution)),
    )
    return tf.ensure_shape(resized, [resolution, resolution, 3])


def test_image(
    encoded: tf.Tensor, resolution: int, *, crop: TestCrop = "center"
) -> tf.Tensor:
    """Return a picture as models are tested on it.

    Args:
        encoded: string [].
        resolution: Side of the model's images in pixels.
        crop: "center" is the published crop; "whole" resizes the whole
            picture, for small images.

    Returns:
        float32 [resolution, resolution, 3]; bicubic values overshoot
        [0, 255].
    """
    return resize(test_part(encoded, resolution, crop=crop), resolution)


def test_part(
    encoded: tf.Tensor, resolution: int, *, crop: TestCrop
) -> tf.Tensor:
    """Return the part of a picture that becomes its test image.

    Args:
        encoded: string [].
        resolution: Side of the model's images in pixels.
        crop: As for `test_image`.

    Returns:
        uint8 [height, width, 3] in [0, 255].
    """
    if crop == "whole":
        return decode(encoded)
    return decode_box(
        encoded, lambda size: center_box(size, resolution=resolution)
    )


def crop_and_resize(
    image: tf.Tensor, resolution: int, *, crop: TestCrop
) -> tf.Tensor:
    """Return the same of a picture that is decoded already.

    Args:
        image: uint8 [height, width, 3] in [0, 255].
        resolution: Side of the model's images in pixels.
        crop: As for `test_image`.

    Returns:
        float32 [resolution, resolution, 3].
    """
    if crop == "center":
        box = center_box(tf.shape(image)[:2], resolution=resolution)
        image = _cut(image, box)
    return resize(image, resolution)
