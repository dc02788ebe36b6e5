import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from noisy_student_tf.pipeline import decode, decoders, orientation

# Blocks of 8 x 8 in plain colors survive JPEG; no two corners are alike.
_COLORS = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
PIXELS = _COLORS.repeat(8, axis=0).repeat(8, axis=1)  # [24, 40, 3]

read = tf.function(
    orientation.read_jpeg, input_signature=[tf.TensorSpec([], tf.string)]
)


def encode(exif=None, image_format="JPEG"):
    buffer = io.BytesIO()
    options = {} if exif is None else {"exif": exif}
    options |= {"quality": 95} if image_format == "JPEG" else {}
    Image.fromarray(PIXELS).save(buffer, image_format, **options)
    return buffer.getvalue()


def oriented(value):
    exif = Image.Exif()
    exif[0x010F] = "a camera's maker"
    exif[0x0112] = value
    exif[0x0131] = "software"
    return encode(exif)


def exif_bytes(order, value, *, entries=1, offset=8, value_type=3):
    """Return an EXIF block of one entry, written by hand."""
    endian = "<" if order == b"II" else ">"
    return (
        b"Exif\0\0"
        + order
        + struct.pack(f"{endian}HI", 42, offset)
        + struct.pack(f"{endian}HHHI", entries, 0x0112, value_type, 1)
        + struct.pack(f"{endian}HHI", value, 0, 0)
    )


@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_is_pillow_s(value):
    encoded = oriented(value)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    assert read(encoded).numpy() == value
    turned = decoders.decode(tf.constant(encoded))
    # Decoders differ by a rounding; a wrong turn differs by much more.
    np.testing.assert_allclose(
        turned.numpy().astype(int), np.asarray(expected).astype(int), atol=6
    )


@pytest.mark.parametrize("order", [b"II", b"MM"])
@pytest.mark.parametrize("value", [1, 3, 6, 8])
def test_both_byte_orders(order, value):
    assert read(encode(exif_bytes(order, value))).numpy() == value


@pytest.mark.parametrize(
    "exif",
    [
        None,
        exif_bytes(b"II", 0),
        exif_bytes(b"II", 9),
        exif_bytes(b"II", 6, entries=0),
        exif_bytes(b"II", 6, offset=2**32 - 1),
        exif_bytes(b"II", 6, offset=2**30),
        b"Exif\0\0",
        b"Exif\0\0II",
    ],
)
def test_broken_or_missing_metadata_counts_as_upright(exif):
    assert read(encode(exif)).numpy() == orientation.UPRIGHT


def test_too_large_a_count_reads_what_is_there():
    assert read(encode(exif_bytes(b"MM", 6, entries=65535))).numpy() == 6


def test_segments_before_the_metadata_and_fill_bytes_are_skipped():
    encoded = encode(exif_bytes(b"MM", 8))
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 700) + b"x" * 700
    other_app1 = b"\xff\xe1" + struct.pack(">H", 2 + 9) + b"http://ns"
    padded = encoded[:2] + comment + other_app1 + b"\xff\xff" + encoded[2:]
    assert Image.open(io.BytesIO(padded)).getexif()[0x0112] == 8
    assert read(padded).numpy() == 8


@pytest.mark.parametrize("length", range(0, 60, 3))
def test_a_file_that_ends_anywhere_is_read_without_error(length):
    assert read(encode(exif_bytes(b"MM", 8))[:length]).numpy() in (1, 8)


@pytest.mark.parametrize("order", [b"II", b"MM"])
@pytest.mark.parametrize("value", [1, 3, 6, 8])
def test_other_formats_have_it_too(order, value):
    exif = exif_bytes(order, value)
    read_png = tf.function(orientation.read_png)
    assert read_png(tf.constant(encode(exif, "PNG"))).numpy() == value
    read_webp = tf.function(orientation.read_webp)
    assert read_webp(tf.constant(encode(exif, "WEBP"))).numpy() == value


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("length", [0, 12, 20, 30, 40, 60, 100, -10, -40])
def test_other_files_may_end_anywhere(form, length):
    content = encode(exif_bytes(b"MM", 8), form)[:length]
    for read_one in (orientation.read_png, orientation.read_webp):
        found = tf.function(read_one)(tf.constant(content))
        assert found.numpy() in (1, 8)


def test_nothing_is_upright():
    assert read(b"").numpy() == orientation.UPRIGHT


def test_a_turned_picture_is_cropped_as_the_upright_one():
    encoded = oriented(6)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    buffer = io.BytesIO()
    upright.save(buffer, "PNG")
    expected = decode.test_image(buffer.getvalue(), 16)
    image = decoders.decode(tf.constant(encoded))
    turned = decode.crop_and_resize(image, 16, crop="center")
    np.testing.assert_allclose(turned, expected, atol=6)
