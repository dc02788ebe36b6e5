import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_prep.sources import pictures
from noisy_student_tf.pipeline import decode, decoders
from tests import picture_files
from tests.data_prep import small_pictures

PIXELS = small_pictures.pixels(0, 40, 60)
LARGE_PIXELS = small_pictures.pixels(0, 300, 400)


def decoded(encoded: bytes) -> np.ndarray:
    return decode.decode(tf.constant(encoded)).numpy()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", checksum)
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
    ],
)
def test_what_graphs_decode_stays_byte_identical(kind, options):
    encoded = small_pictures.encode(LARGE_PIXELS, kind, **options)
    assert pictures.normalize(encoded) == encoded
    assert pictures.normalize(encoded, max_side=400) == encoded


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_plain_png_of_every_mode_stays_byte_identical(mode):
    encoded = small_pictures.encode(picture_files.make(mode))
    assert pictures.normalize(encoded) == encoded


def test_opaque_palettes_stay_byte_identical():
    palette = picture_files.make("RGB").quantize(16)
    encoded = small_pictures.encode(palette)
    assert pictures.normalize(encoded) == encoded
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(decoded(encoded), expected)


def test_large_turned_jpegs_are_stored_upright():
    pixels_of_file = np.asarray(picture_files.make("RGB").resize((400, 300)))
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = small_pictures.encode(pixels_of_file, "JPEG", exif=exif)
    stored = pictures.normalize(encoded)
    assert stored != encoded
    served = decoders.decode(tf.constant(encoded)).numpy().astype(int)
    assert served.shape == (400, 300, 3)
    # One more JPEG's loss.
    assert np.abs(decoded(stored) - served).mean() < 2


def test_other_lossless_formats_become_equal_png():
    encoded = small_pictures.encode(LARGE_PIXELS, "TIFF")
    stored = pictures.normalize(encoded)
    assert stored.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decoded(stored), LARGE_PIXELS)


def test_large_lossy_avif_becomes_jpeg_and_small_becomes_png():
    large = pictures.normalize(small_pictures.encode(LARGE_PIXELS, "AVIF"))
    assert large.startswith(b"\xff\xd8")
    small = pictures.normalize(small_pictures.encode(PIXELS, "AVIF"))
    assert small.startswith(b"\x89PNG")


def test_damaged_ones_among_others_are_told_by_place():
    good = small_pictures.encode(LARGE_PIXELS, "JPEG")
    gif = small_pictures.encode(LARGE_PIXELS, "GIF")
    first, second, third, fourth = pictures.normalize_all(
        [good, good[: len(good) // 2], b"no picture", gif]
    )
    assert first == good
    assert isinstance(second, pictures.CorruptImageError)
    assert isinstance(third, pictures.CorruptImageError)
    assert isinstance(fourth, bytes) and fourth.startswith(b"\x89PNG")


def test_first_frame_of_gif_is_kept():
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    encoded = small_pictures.encode(
        frames[0], "GIF", save_all=True, append_images=frames[1:]
    )
    picture = decoded(pictures.normalize(encoded))
    assert picture.shape == (6, 8, 3)
    assert picture[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_gray_becomes_rgb(kind):
    encoded = small_pictures.encode(np.full((8, 8), 100, np.uint8), kind)
    picture = decoded(pictures.normalize(encoded))
    assert picture.shape == (8, 8, 3)
    assert np.all(picture == 100)


def test_palette_becomes_rgb():
    image = Image.fromarray(PIXELS).quantize(16)
    picture = decoded(pictures.normalize(small_pictures.encode(image)))
    np.testing.assert_array_equal(picture, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_becomes_white(mode):
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        encoded = small_pictures.encode(image, transparency=0)
    else:
        encoded = small_pictures.encode(Image.new(mode, (4, 4)))
    assert np.all(decoded(pictures.normalize(encoded)) == 255)


def test_half_transparent_black_becomes_gray():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 51))
    picture = decoded(pictures.normalize(small_pictures.encode(image)))
    assert np.all(picture == 204)


def test_cmyk_jpeg_becomes_rgb():
    red = Image.new("CMYK", (300, 300), (0, 255, 255, 0))
    stored = pictures.normalize(small_pictures.encode(red, "JPEG"))
    assert np.abs(decoded(stored)[0, 0].astype(int) - [254, 0, 0]).max() < 6


def test_16_bits_of_gray_keep_their_high_byte():
    values = np.array([[0, 0x1234], [0x80FF, 0xFFFF]], np.uint16)
    encoded = small_pictures.encode(Image.fromarray(values))
    picture = decoded(pictures.normalize(encoded))
    assert picture[..., 0].tolist() == [[0, 0x12], [0x80, 0xFF]]


def test_12_bits_in_16_are_not_nearly_black():
    values = np.array([[0, 0x123], [0x80F, 0xFFF]], np.uint16)
    encoded = small_pictures.encode(Image.fromarray(values))
    picture = decoded(pictures.normalize(encoded))
    assert picture[..., 0].tolist() == [[0, 0x12], [0x80, 0xFF]]


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn 90 degrees clockwise to see it upright.
    image = Image.new("RGB", (16, 8), "white")
    image.paste("black", (0, 0, 8, 8))
    encoded = small_pictures.encode(image, "JPEG", exif=exif)
    picture = decoded(pictures.normalize(encoded))
    assert picture.shape == (16, 8, 3)
    assert picture[1, 4].max() < 30 and picture[14, 4].min() > 225


def test_larger_than_max_side_is_shrunk():
    encoded = small_pictures.encode(LARGE_PIXELS, "JPEG")
    assert decoded(pictures.normalize(encoded, max_side=200)).shape == (
        150,
        200,
        3,
    )


def test_giant_is_refused_from_its_header():
    for side in (50_000, 10_000):
        with pytest.raises(
            pictures.CorruptImageError,
            match="its header claims more than 89478485 pixels",
        ):
            pictures.normalize(png_header(side, side))


@pytest.mark.parametrize(
    "encoded",
    [
        small_pictures.encode(LARGE_PIXELS, "JPEG"),
        small_pictures.encode(LARGE_PIXELS, "JPEG", progressive=True),
        small_pictures.encode(LARGE_PIXELS),
        small_pictures.encode(LARGE_PIXELS, "WEBP"),
        small_pictures.encode(LARGE_PIXELS, "BMP"),
        small_pictures.encode(LARGE_PIXELS, "GIF"),
        small_pictures.encode(LARGE_PIXELS[..., 0], "JPEG"),
    ],
    ids=["jpeg", "progressive", "png", "webp", "bmp", "gif", "gray_jpeg"],
)
def test_truncated_is_corrupt(encoded):
    for length in (10, len(encoded) // 2, len(encoded) * 9 // 10):
        with pytest.raises(pictures.CorruptImageError):
            pictures.normalize(encoded[:length])


def test_no_picture_is_corrupt():
    with pytest.raises(pictures.CorruptImageError, match="file is empty"):
        pictures.normalize(b"")
    with pytest.raises(pictures.CorruptImageError, match="not a JPEG, PNG"):
        pictures.normalize(b"<html>no picture</html>")
