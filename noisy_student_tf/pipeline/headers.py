"""What the bytes of an encoded picture say of it, read inside the graph."""

import tensorflow as tf

from noisy_student_tf.records import pictures

# What `kind` returns: the decoders there are, and none of them.
JPEG, PNG, WEBP, BMP, REFUSED = range(5)

# Metadata comes first: what lies behind this is not searched.
SEARCHED_BYTES = 1 << 18

_HEAD_BYTES = 40
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A chunk's length, name and checksum.
_CHUNK_BYTES = 12
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_WEBP_ANIMATION_BIT = 0x02


def kind(encoded: tf.Tensor) -> tf.Tensor:
    """Return which decoder takes a picture, of what its header says.

    Refused is what TensorFlow decodes to other pixels than everybody else, or
    not at all, or at any cost of memory: GIF (its transparency is lost, and
    all frames are decoded), animated WebP (TensorFlow 2.21 writes behind its
    buffer), BMP of other than 24 plain bits, and more than `MAX_PIXELS`.

    Args:
        encoded: string [].

    Returns:
        int32 []: `JPEG`, `PNG`, `WEBP`, `BMP` or `REFUSED`. A JPEG's size is
        not read.
    """
    head = first_bytes(encoded, _HEAD_BYTES)
    candidates = [
        (_begins(head, 0, _JPEG_SIGNATURE), tf.constant(1, tf.int64)),
        (_begins(head, 0, _PNG_SIGNATURE), _png_pixels(head)),
        (_is_still_webp(head), _webp_pixels(head)),
        (_is_plain_bmp(head), _bmp_pixels(head)),
    ]
    is_taken = tf.stack(
        [
            matches & (pixels > 0) & (pixels <= pictures.MAX_PIXELS)
            for matches, pixels in candidates
        ]
        + [tf.constant(True)]
    )
    return tf.argmax(tf.cast(is_taken, tf.int32), output_type=tf.int32)


def first_bytes(encoded: tf.Tensor, count: int) -> tf.Tensor:
    """Return the first bytes as int64 [count]; zeros behind a shorter end."""
    head = tf.strings.join([tf.strings.substr(encoded, 0, count), bytes(count)])
    data = tf.io.decode_raw(tf.strings.substr(head, 0, count), tf.uint8)
    return tf.ensure_shape(tf.cast(data, tf.int64), [count])


def bytes_at(data: tf.Tensor, position: tf.Tensor, length: int) -> tf.Tensor:
    """Return `length` bytes from positions on, the last for any outside.

    Args:
        data: int32 [size].
        position: int32 [...].
        length: Of the result's last axis.
    """
    places = position[..., tf.newaxis] + tf.range(length)
    return tf.gather(data, tf.clip_by_value(places, 0, tf.size(data) - 1))


def number(digits: tf.Tensor, is_little: tf.Tensor | bool) -> tf.Tensor:
    """Return the number that bytes [..., length] stand for, of their type."""
    length = digits.shape[-1]
    ordered = tf.where(is_little, digits[..., ::-1], digits)
    weights = tf.constant([256**i for i in range(length)][::-1], tf.int64)
    return tf.reduce_sum(ordered * tf.cast(weights, digits.dtype), -1)


def find_png_chunk(
    encoded: tf.Tensor, name: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Look for a chunk of a PNG before its pixels.

    Args:
        encoded: string [], a PNG.
        name: Of the chunk, four letters.

    Returns:
        is_found: bool [].
        position: int32 [], where the chunk's content begins.
    """
    head = tf.strings.substr(encoded, 0, SEARCHED_BYTES)
    # Few have it, and the others pay no more than this search.
    may_have = tf.strings.regex_full_match(head, rf"\C*{name}\C*")
    return tf.cond(
        may_have,
        lambda: _walk_png(as_bytes(head), name),
        lambda: (tf.constant(False), tf.constant(0)),
    )


def as_bytes(encoded: tf.Tensor) -> tf.Tensor:
    """Return the bytes of a string as int32 [size]."""
    return tf.cast(tf.io.decode_raw(encoded, tf.uint8), tf.int32)


def _walk_png(data: tf.Tensor, name: str) -> tuple[tf.Tensor, tf.Tensor]:
    end = tf.size(data) - _CHUNK_BYTES

    def name_is(position: tf.Tensor, expected: str) -> tf.Tensor:
        found = bytes_at(data, position + 4, 4)
        return tf.reduce_all(found == list(expected.encode()))

    def is_ahead(position: tf.Tensor) -> tf.Tensor:
        is_stop = name_is(position, name) | name_is(position, "IDAT")
        return (position < end) & ~is_stop

    def step(position: tf.Tensor) -> tuple[tf.Tensor]:
        length = number(bytes_at(data, position, 4), False)
        # Of a damaged file it may be anything.
        length = tf.where((length < 0) | (length > end), end, length)
        return (position + _CHUNK_BYTES + length,)

    start = tf.constant(len(_PNG_SIGNATURE))
    (position,) = tf.while_loop(is_ahead, step, (start,))
    return (position < end) & name_is(position, name), position + 8


def _begins(head: tf.Tensor, offset: int, expected: bytes) -> tf.Tensor:
    found = head[offset : offset + len(expected)]
    return tf.reduce_all(found == tf.constant(list(expected), tf.int64))


def _png_pixels(head: tf.Tensor) -> tf.Tensor:
    width, height = number(head[16:20], False), number(head[20:24], False)
    return _product(width, height)


def _product(width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    # Sides of 32 bits: their product could leave 64.
    limit = pictures.MAX_PIXELS + 1
    return tf.minimum(width, limit) * tf.minimum(height, limit)


def _is_still_webp(head: tf.Tensor) -> tf.Tensor:
    is_webp = _begins(head, 0, b"RIFF") & _begins(head, 8, b"WEBP")
    flags = tf.bitwise.bitwise_and(head[20], _WEBP_ANIMATION_BIT)
    is_animated = _begins(head, 12, b"VP8X") & (flags > 0)
    return is_webp & ~is_animated


def _webp_pixels(head: tf.Tensor) -> tf.Tensor:
    """Return the pixels that the first chunk of a WebP claims."""
    canvas = (number(head[24:27], True) + 1) * (number(head[27:30], True) + 1)
    bits = number(head[21:25], True)
    lossless = (bits % 2**14 + 1) * (bits // 2**14 % 2**14 + 1)
    lossy = (number(head[26:28], True) % 2**14) * (
        number(head[28:30], True) % 2**14
    )
    nothing = tf.constant(0, tf.int64)
    return tf.where(
        _begins(head, 12, b"VP8X"),
        canvas,
        tf.where(
            _begins(head, 12, b"VP8L"),
            lossless,
            tf.where(_begins(head, 12, b"VP8 "), lossy, nothing),
        ),
    )


def _is_plain_bmp(head: tf.Tensor) -> tf.Tensor:
    header_size = number(head[14:18], True)
    is_known = tf.reduce_any(
        header_size == tf.constant(pictures.PLAIN_BMP_HEADERS, tf.int64)
    )
    is_plain = (number(head[28:30], True) == 24) & (
        number(head[30:34], True) == 0
    )
    is_bmp = _begins(head, 0, b"BM") & _begins(head, 6, bytes(4))
    return is_bmp & is_known & is_plain


def _bmp_pixels(head: tf.Tensor) -> tf.Tensor:
    height = number(head[22:26], True)
    # Negative: its rows come from the top down.
    height = tf.where(height >= 2**31, 2**32 - height, height)
    return _product(number(head[18:22], True), height)
