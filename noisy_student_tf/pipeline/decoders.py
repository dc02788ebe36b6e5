"""Decoders of each format, inside the graph: to opaque RGB of 8 bits.

What is transparent becomes white, the page that drawings and product pictures
with alpha are made for. 16 bits keep their high byte, except where no sample
needs more than 12: scanners and cameras put those into files of 16.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from noisy_student_tf.pipeline import headers, orientation
from noisy_student_tf.records import pictures

# PNG (ISO 15948), Section 11.2.2.
_PNG_HEAD_BYTES = 33
_PNG_DEPTH_BYTE = 24
_PNG_COLOR_BYTE = 25
_PNG_HAS_ALPHA_FROM = 4  # Gray with alpha; 6 is color with alpha.
# Of 8 bits, gray or RGB, no side above 9215 pixels, and its pixels follow the
# header, with nothing between them that would change them.
_PLAIN_PNG = (
    r"\CPNG\r\n\x1a\n\x00{3}\rIHDR"
    r"(\x00\x00[\x00-\x23]\C){2}\x08[\x00\x02]\C{3}\C{8}IDAT"
)
_PLAIN_PNG_BYTES = 41
_STRIP_PIXELS = 1 << 20
_MAX_12_BITS = 2**12 - 1


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a file as it comes: upright, opaque, RGB.

    `docs/pictures.md` says what becomes of which file; what a graph cannot
    read, `records.pictures` makes a picture that it can.

    Args:
        encoded: string []: JPEG, PNG, still WebP, or BMP of 24 bits.

    Returns:
        uint8 [height, width, 3] in [0, 255].
    """
    image = tf.cond(
        is_plain_png(encoded),
        lambda: plain_png(encoded),
        lambda: _decode_any(encoded),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _decode_any(encoded: tf.Tensor) -> tf.Tensor:
    kinds: list[tuple[Any, Any]] = [
        (jpeg, orientation.read_jpeg),
        (png, orientation.read_png),
        (webp, orientation.read_webp),
        (bmp, None),
        # It decodes nothing, and says so.
        (lambda _: tf.io.decode_image("", 3, expand_animations=False), None),
    ]

    def branch(decoder: Any, read: Any) -> Callable[[], tf.Tensor]:
        def run() -> tf.Tensor:
            image = decoder(encoded)
            return orientation.turn(image, read(encoded)) if read else image

        return run

    return tf.switch_case(
        headers.kind(encoded), [branch(*kind) for kind in kinds]
    )


def is_upright(encoded: tf.Tensor) -> tf.Tensor:
    """Tell whether `decode` leaves a file as it lies: bool [].

    Args:
        encoded: string [], as for `decode`.
    """

    def branch(read: Callable[[tf.Tensor], tf.Tensor]) -> Any:
        return lambda: read(encoded) == orientation.UPRIGHT

    readers = (
        orientation.read_jpeg,
        orientation.read_png,
        orientation.read_webp,
    )
    always = [lambda: tf.constant(True)] * 2
    return tf.switch_case(
        headers.kind(encoded), [*map(branch, readers), *always]
    )


def jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG of up to `MAX_PIXELS`: uint8 [height, width, 3]."""
    size = tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)
    fits = tf.reduce_prod(size) <= pictures.MAX_PIXELS
    # An empty string is refused by the decoder.
    return tf.io.decode_jpeg(tf.where(fits, encoded, ""), channels=3)


def is_plain_png(encoded: tf.Tensor) -> tf.Tensor:
    """Tell PNGs that are opaque, upright and of 8 bits from the first bytes.

    Most are, and small ones are decoded in less time than a look at all that
    a PNG may be would take.

    Args:
        encoded: string [].

    Returns:
        bool []; False does not say that it is not so.
    """
    head = tf.strings.substr(encoded, 0, _PLAIN_PNG_BYTES)
    return tf.strings.regex_full_match(head, _PLAIN_PNG)


def plain_png(encoded: tf.Tensor) -> tf.Tensor:
    """Decode an opaque PNG of 8 bits: uint8 [height, width, 3]."""
    return tf.io.decode_png(encoded, channels=3)


def png(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a PNG of any kind: uint8 [height, width, 3]."""
    head = headers.first_bytes(encoded, _PNG_HEAD_BYTES)
    has_alpha = (head[_PNG_COLOR_BYTE] >= _PNG_HAS_ALPHA_FROM) | (
        headers.find_png_chunk(encoded, "tRNS")[0]
    )
    index = tf.cast(has_alpha, tf.int32)
    index += 2 * tf.cast(head[_PNG_DEPTH_BYTE] == 16, tf.int32)

    # Four channels are only asked for where there is alpha: TensorFlow's own
    # is transparent in pictures of less than 8 bits.
    def of_8_bits(channels: int) -> tf.Tensor:
        return tf.io.decode_png(encoded, channels=channels)

    def of_16_bits(channels: int) -> tf.Tensor:
        image = tf.io.decode_png(encoded, channels, dtype=tf.uint16)
        return _to_8_bits(image)

    return tf.switch_case(
        index,
        [
            lambda: of_8_bits(3),
            lambda: _on_white(of_8_bits(4)),
            lambda: of_16_bits(3),
            lambda: _on_white(of_16_bits(4)),
        ],
    )


def webp(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a WebP that is no animation: uint8 [height, width, 3]."""
    image = tf.io.decode_webp(encoded, channels=0)[0]
    return tf.cond(
        tf.shape(image)[2] == 4, lambda: _on_white(image), lambda: image
    )


def bmp(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a BMP of 24 plain bits: uint8 [height, width, 3]."""
    return tf.io.decode_bmp(encoded, channels=3)


def _to_8_bits(image: tf.Tensor) -> tf.Tensor:
    """Return uint16 [height, width, 3 or 4] as uint8 of the same shape."""
    largest = tf.cast(tf.reduce_max(image[..., :3]), tf.int32)
    shift = tf.where(largest <= _MAX_12_BITS, 4, 8)
    shifts = tf.stack([shift] * 3 + [8])[: tf.shape(image)[2]]
    shifted = tf.bitwise.right_shift(image, tf.cast(shifts, tf.uint16))
    return tf.cast(shifted, tf.uint8)


def _on_white(image: tf.Tensor) -> tf.Tensor:
    """Lay uint8 [height, width, 4] on white: uint8 [height, width, 3].

    Of large pictures some rows at a time, since it takes their size many times.
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    num_rows = tf.maximum(_STRIP_PIXELS // width, 1)
    num_strips = -(-height // num_rows)

    def in_strips() -> tf.Tensor:
        strips = tf.TensorArray(
            tf.uint8,
            num_strips,
            element_shape=[None, None, 3],
            infer_shape=False,
        )

        def step(i: tf.Tensor, made: tf.TensorArray) -> tuple[Any, Any]:
            strip = image[i * num_rows : (i + 1) * num_rows]
            return i + 1, made.write(i, _strip_on_white(strip))

        _, strips = tf.while_loop(
            lambda i, _: i < num_strips,
            step,
            (tf.constant(0), strips),
            parallel_iterations=1,
        )
        return strips.concat()

    return tf.cond(num_strips > 1, in_strips, lambda: _strip_on_white(image))


def _strip_on_white(image: tf.Tensor) -> tf.Tensor:
    """Return round(color * share + 255 * (1 - share)), in whole numbers."""
    image = tf.cast(image, tf.uint16)
    alpha = image[..., 3:]
    # At most 255 * 255: 16 bits hold it, and the rounding, too.
    total = image[..., :3] * alpha + 255 * (255 - alpha) + 128
    total += tf.bitwise.right_shift(total, tf.constant(8, tf.uint16))
    return tf.cast(
        tf.bitwise.right_shift(total, tf.constant(8, tf.uint16)), tf.uint8
    )
