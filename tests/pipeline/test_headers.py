import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from noisy_student_tf.pipeline import headers
from noisy_student_tf.records import pictures
from tests import picture_files
from tests.data_prep import small_pictures

kind = tf.function(headers.kind, input_signature=[tf.TensorSpec([], tf.string)])
IMAGE = Image.new("RGB", (31, 17))


def animated(image, form):
    second = image.transpose(Image.Transpose.ROTATE_180)
    return small_pictures.encode(
        image, form, save_all=True, append_images=[second]
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (small_pictures.encode(IMAGE, "JPEG"), headers.JPEG),
        (small_pictures.encode(IMAGE, "PNG"), headers.PNG),
        (small_pictures.encode(IMAGE, "WEBP"), headers.WEBP),
        (small_pictures.encode(IMAGE, "BMP"), headers.BMP),
        (animated(picture_files.make("RGB"), "WEBP"), headers.REFUSED),
        (animated(picture_files.make("RGBA"), "WEBP"), headers.REFUSED),
        (small_pictures.encode(IMAGE, "GIF"), headers.REFUSED),
        (small_pictures.encode(IMAGE.convert("L"), "BMP"), headers.REFUSED),
        (small_pictures.encode(IMAGE.convert("RGBA"), "BMP"), headers.REFUSED),
        (b"", headers.REFUSED),
        (b"RIFF", headers.REFUSED),
    ],
)
def test_which_decoder_takes_a_picture(content, expected):
    assert kind(content).numpy() == expected


def claim(form: str, width: int, height: int) -> bytes:
    """Return a picture whose header claims another size."""
    content = bytearray(
        small_pictures.encode(
            IMAGE, form, **({"lossless": True} if form == "WEBP" else {})
        )
    )
    if form == "PNG":
        content[16:24] = struct.pack(">II", width, height)
    elif form == "BMP":
        content[18:26] = struct.pack("<ii", width, height)
    else:
        content[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return bytes(content)


@pytest.mark.parametrize(
    ("form", "width", "height"),
    [
        ("PNG", 20_000, 20_000),
        ("PNG", 2**31, 2**31),
        ("PNG", 0, 5),
        ("BMP", 10_000, 10_000),
        ("BMP", 10_000, -10_000),
        ("BMP", -(2**31), -(2**31)),
        ("WEBP", 16_000, 16_000),
    ],
)
def test_giants_are_refused_by_graph_and_script(form, width, height):
    content = claim(form, width, height)
    assert kind(content).numpy() == headers.REFUSED
    if width and height:
        with pytest.raises(pictures.TooLargeError):
            pictures.to_decodable(content)


def test_what_lies_in_a_chunk_is_found_and_what_looks_like_it_is_not():
    find = tf.function(lambda x: headers.find_png_chunk(x, "tRNS"))
    image = Image.new("P", (4, 4))
    with_it = small_pictures.encode(image, transparency=0)
    is_found, position = find(tf.constant(with_it))
    assert is_found.numpy() and with_it[position - 4 : position] == b"tRNS"
    comment = Image.new("RGB", (4, 4))
    comment.info = {}
    from PIL import PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "tRNS")
    without = small_pictures.encode(comment, pnginfo=text)
    assert b"tRNS" in without
    assert not find(tf.constant(without))[0].numpy()


def test_numbers_of_both_byte_orders():
    digits = tf.constant(list(b"\1\2\3"), tf.int32)
    assert headers.number(digits, False).numpy() == 0x010203
    assert headers.number(digits, True).numpy() == 0x030201


def test_bytes_behind_the_end_are_zero():
    first = headers.first_bytes(tf.constant(b"ab"), 4)
    np.testing.assert_array_equal(first, [97, 98, 0, 0])
