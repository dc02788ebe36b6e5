"""The EXIF orientation of pictures, read and applied inside the graph.

Cameras store what their sensor saw, and in a block of metadata how it was
held. JPEG and PNG have it before their pixels, WebP behind them.
"""

from collections.abc import Callable

import tensorflow as tf

from noisy_student_tf.pipeline import headers

Change = Callable[[tf.Tensor], tf.Tensor]

# EXIF 2.32, Section 4.6.4: how row 0 and column 0 lie; 1 is upright.
UPRIGHT = 1
_TRANSPOSED = (5, 6, 7, 8)
_MIRRORED_LEFT_RIGHT = (2, 3, 6, 7)
_MIRRORED_TOP_DOWN = (3, 4, 7, 8)
_ORIENTATION_TAG = 0x0112

# JPEG (ITU T.81, Annex B): markers, and how a segment of metadata begins.
_FILL = 0xFF
_START_OF_SCAN = 0xDA
_APP1 = 0xE1
_EXIF = [0x45, 0x78, 0x69, 0x66, 0, 0]  # "Exif"
_LITTLE_ENDIAN = [0x49, 0x49]  # "II"
_ENTRY_BYTES = 12
# Files without metadata: JFIF's segment, then the first quantization table.
_JFIF_SEGMENT = b"\xff\xe0\x00\x10"
_QUANTIZATION_TABLE = b"\xff\xdb"
_JFIF_BYTES = 22

# WebP (RFC 9649), Section 2.7.
_WEBP_HEAD_BYTES = 21
_WEBP_EXIF_BIT = 0x08
_WEBP_FIRST_CHUNK = 12
_WEBP_CHUNK_BYTES = 8
_WEBP_EXIF = list(b"EXIF")


def read_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Return how a JPEG is stored.

    Args:
        encoded: string [].

    Returns:
        int32 [] in [1, 8]; 1 (upright) for what has no orientation or broken
        metadata.
    """
    blank = bytes(_JFIF_BYTES)
    first = tf.strings.join([tf.strings.substr(encoded, 0, _JFIF_BYTES), blank])
    is_jfif = tf.strings.substr(first, 2, 4) == _JFIF_SEGMENT
    has_table = tf.strings.substr(first, 20, 2) == _QUANTIZATION_TABLE
    return tf.cond(
        is_jfif & has_table,
        lambda: tf.constant(UPRIGHT),
        lambda: _search_jpeg(encoded),
    )


def read_png(encoded: tf.Tensor) -> tf.Tensor:
    """Return how a PNG is stored, as `read_jpeg` does."""
    is_found, position = headers.find_png_chunk(encoded, "eXIf")
    return tf.cond(
        is_found,
        lambda: _read_tiff(
            headers.as_bytes(
                tf.strings.substr(encoded, 0, headers.SEARCHED_BYTES)
            ),
            position,
        ),
        lambda: tf.constant(UPRIGHT),
    )


def read_webp(encoded: tf.Tensor) -> tf.Tensor:
    """Return how a WebP is stored, as `read_jpeg` does."""
    flags = headers.first_bytes(encoded, _WEBP_HEAD_BYTES)[-1]
    has_exif = tf.bitwise.bitwise_and(flags, _WEBP_EXIF_BIT) > 0
    is_extended = tf.strings.regex_full_match(
        tf.strings.substr(encoded, 0, _WEBP_HEAD_BYTES), r"\C{12}VP8X\C*"
    )
    return tf.cond(
        is_extended & has_exif,
        lambda: _read_webp(headers.as_bytes(encoded)),
        lambda: tf.constant(UPRIGHT),
    )


def turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turn a stored picture upright.

    Args:
        image: [height, width, channels].
        orientation: int32 [], as `read_jpeg` returns it.

    Returns:
        The same type, [height, width, channels] or [width, height, channels].
    """

    def apply(
        x: tf.Tensor, values: tuple[int, ...], change: Change
    ) -> tf.Tensor:
        applies = _is_one_of(orientation, values)
        return tf.cond(applies, lambda: change(x), lambda: x)

    def turn_all() -> tf.Tensor:
        turned = apply(image, _TRANSPOSED, lambda x: tf.transpose(x, [1, 0, 2]))
        turned = apply(
            turned, _MIRRORED_LEFT_RIGHT, lambda x: tf.reverse(x, [1])
        )
        return apply(turned, _MIRRORED_TOP_DOWN, lambda x: tf.reverse(x, [0]))

    return tf.cond(orientation == UPRIGHT, lambda: image, turn_all)


def _is_one_of(orientation: tf.Tensor, values: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_any(orientation == tf.constant(values))


def _search_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    head = tf.strings.substr(encoded, 0, headers.SEARCHED_BYTES)
    may_have_exif = tf.strings.regex_full_match(head, r"\C*Exif\x00\x00\C*")
    return tf.cond(
        may_have_exif,
        lambda: _read_jpeg(headers.as_bytes(head)),
        lambda: tf.constant(UPRIGHT),
    )


def _read_webp(data: tf.Tensor) -> tf.Tensor:
    """Return the orientation of a WebP; `data`: its bytes, int32 [size]."""
    end = tf.size(data) - _WEBP_CHUNK_BYTES

    def is_exif(position: tf.Tensor) -> tf.Tensor:
        return tf.reduce_all(headers.bytes_at(data, position, 4) == _WEBP_EXIF)

    def is_ahead(position: tf.Tensor) -> tf.Tensor:
        return (position < end) & ~is_exif(position)

    def step(position: tf.Tensor) -> tuple[tf.Tensor]:
        length = headers.number(headers.bytes_at(data, position + 4, 4), True)
        # Of a damaged file it may be anything.
        length = tf.where((length < 0) | (length > end), end, length)
        # Chunks are padded to an even length.
        return (position + _WEBP_CHUNK_BYTES + length + length % 2,)

    start = tf.constant(_WEBP_FIRST_CHUNK)
    (position,) = tf.while_loop(is_ahead, step, (start,))
    begin = position + _WEBP_CHUNK_BYTES
    # Some programs write what JPEG has before it.
    has_name = tf.reduce_all(headers.bytes_at(data, begin, len(_EXIF)) == _EXIF)
    begin += tf.where(has_name, len(_EXIF), 0)
    return tf.cond(
        (position < end) & is_exif(position),
        lambda: _read_tiff(data, begin),
        lambda: tf.constant(UPRIGHT),
    )


def _read_jpeg(data: tf.Tensor) -> tf.Tensor:
    """Return the orientation of a JPEG; `data`: its bytes, int32 [size]."""
    size = tf.size(data)
    end = size - 4

    def is_ahead(position: tf.Tensor) -> tf.Tensor:
        marker = headers.bytes_at(data, position, 2)
        is_metadata = (marker[0] == _FILL) & (marker[1] != _START_OF_SCAN)
        return (position < end) & is_metadata & ~_is_exif(data, position)

    def step(position: tf.Tensor) -> tf.Tensor:
        is_fill = headers.bytes_at(data, position + 1, 1)[0] == _FILL
        length = headers.number(headers.bytes_at(data, position + 2, 2), False)
        # A length counts its own two bytes.
        return position + tf.where(is_fill, 1, 2 + tf.maximum(length, 2))

    (position,) = tf.while_loop(
        is_ahead, lambda position: (step(position),), (tf.constant(2),)
    )
    found = (position < end) & _is_exif(data, position)
    return tf.cond(
        found,
        lambda: _read_tiff(data, position + 4 + len(_EXIF)),
        lambda: tf.constant(UPRIGHT),
    )


def _is_exif(data: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    is_app1 = headers.bytes_at(data, position + 1, 1)[0] == _APP1
    name = headers.bytes_at(data, position + 4, len(_EXIF))
    return is_app1 & tf.reduce_all(name == _EXIF)


def _read_tiff(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Return the orientation in the directory that a TIFF header points at."""
    is_little = tf.reduce_all(
        headers.bytes_at(data, start, 2) == _LITTLE_ENDIAN
    )

    def number(position: tf.Tensor, length: int) -> tf.Tensor:
        return headers.number(
            headers.bytes_at(data, position, length), is_little
        )

    directory = start + number(start + 4, 4)
    # No directory is longer than what there is of the file.
    longest = tf.maximum(tf.size(data) - directory - 2, 0) // _ENTRY_BYTES
    count = tf.clip_by_value(number(directory, 2), 0, longest)
    entries = directory + 2 + _ENTRY_BYTES * tf.range(count)
    tags = headers.number(headers.bytes_at(data, entries, 2), is_little)
    values = headers.number(headers.bytes_at(data, entries + 8, 2), is_little)
    found = tf.boolean_mask(values, tags == _ORIENTATION_TAG)
    value = tf.concat([found, [UPRIGHT]], axis=0)[0]
    return tf.where((value >= 1) & (value <= 8), value, UPRIGHT)
