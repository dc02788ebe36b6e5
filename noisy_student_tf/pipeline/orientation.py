"""The EXIF orientation of JPEG files, read and applied inside the graph.

Cameras store what their sensor saw, and in the file's first kilobytes how it
was held. Shards hold upright pictures, made so when they are built; a served
model meets the cameras' own files.
"""

import tensorflow as tf

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
# Metadata comes first: what lies behind this is not searched.
_SEARCHED_BYTES = 1 << 18


def read(encoded: tf.Tensor) -> tf.Tensor:
    """Return how a picture is stored.

    Args:
        encoded: string [].

    Returns:
        int32 [] in [1, 8]; 1 (upright) for what is no JPEG, has no
        orientation or broken metadata.
    """

    head = tf.strings.substr(encoded, 0, _SEARCHED_BYTES)
    # Most pictures have no such metadata, and pay no more than this search.
    may_have_exif = tf.io.is_jpeg(encoded) & tf.strings.regex_full_match(
        head, r"\C*Exif\x00\x00\C*"
    )
    return tf.cond(
        may_have_exif,
        lambda: _read_jpeg(tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int32)),
        lambda: tf.constant(UPRIGHT),
    )


def turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turn a stored picture upright.

    Args:
        image: [height, width, channels].
        orientation: int32 [], as `read` returns it.

    Returns:
        The same type, [height, width, channels] or [width, height, channels].
    """

    def apply(values: tuple[int, ...], change) -> tf.Tensor:
        is_one_of = tf.reduce_any(orientation == tf.constant(values))
        return tf.cond(is_one_of, lambda: change(image), lambda: image)

    image = apply(_TRANSPOSED, lambda x: tf.transpose(x, [1, 0, 2]))
    image = apply(_MIRRORED_LEFT_RIGHT, lambda x: tf.reverse(x, [1]))
    return apply(_MIRRORED_TOP_DOWN, lambda x: tf.reverse(x, [0]))


def upright(image: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """Return a decoded picture as its file says that it was held.

    Args:
        image: uint8 [height, width, 3], as decoded.
        encoded: string [], what it was decoded from.

    Returns:
        uint8 [height, width, 3] or [width, height, 3].
    """
    return turn(image, read(encoded))


def _read_jpeg(data: tf.Tensor) -> tf.Tensor:
    """Return the orientation of a JPEG; `data`: its bytes, int32 [size]."""
    size = tf.size(data)
    end = size - 4

    def is_ahead(position: tf.Tensor) -> tf.Tensor:
        marker = _bytes(data, position, 2)
        is_metadata = (marker[0] == _FILL) & (marker[1] != _START_OF_SCAN)
        return (position < end) & is_metadata & ~_is_exif(data, position)

    def step(position: tf.Tensor) -> tf.Tensor:
        is_fill = _bytes(data, position + 1, 1)[0] == _FILL
        length = _number(_bytes(data, position + 2, 2), False)
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
    is_app1 = _bytes(data, position + 1, 1)[0] == _APP1
    name = _bytes(data, position + 4, len(_EXIF))
    return is_app1 & tf.reduce_all(name == _EXIF)


def _read_tiff(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Return the orientation in the directory that a TIFF header points at."""
    is_little = tf.reduce_all(_bytes(data, start, 2) == _LITTLE_ENDIAN)

    def number(position: tf.Tensor, length: int) -> tf.Tensor:
        return _number(_bytes(data, position, length), is_little)

    directory = start + number(start + 4, 4)
    # No directory is longer than what there is of the file.
    longest = tf.maximum(tf.size(data) - directory - 2, 0) // _ENTRY_BYTES
    count = tf.clip_by_value(number(directory, 2), 0, longest)
    entries = directory + 2 + _ENTRY_BYTES * tf.range(count)
    tags = _number(_bytes(data, entries, 2), is_little)
    values = _number(_bytes(data, entries + 8, 2), is_little)
    found = tf.boolean_mask(values, tags == _ORIENTATION_TAG)
    value = tf.concat([found, [UPRIGHT]], axis=0)[0]
    return tf.where((value >= 1) & (value <= 8), value, UPRIGHT)


def _bytes(data: tf.Tensor, position: tf.Tensor, length: int) -> tf.Tensor:
    """Return `length` bytes from positions on, the last for any outside.

    Args:
        data: int32 [size].
        position: int32 [...].
        length: Of the result's last axis.
    """
    places = position[..., tf.newaxis] + tf.range(length)
    return tf.gather(data, tf.clip_by_value(places, 0, tf.size(data) - 1))


def _number(digits: tf.Tensor, is_little: tf.Tensor | bool) -> tf.Tensor:
    """Return the number that bytes, int32 [..., length], stand for, int32."""
    length = digits.shape[-1]
    ordered = tf.where(is_little, digits[..., ::-1], digits)
    return tf.reduce_sum(ordered * [256**i for i in range(length)][::-1], -1)
