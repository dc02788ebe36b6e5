import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from noisy_student_tf.pipeline import decoders
from tests import picture_files
from tests.data_prep import small_pictures

is_plain = tf.function(decoders.is_plain_png)


def decoded(content: bytes) -> np.ndarray:
    return tf.function(decoders.decode)(tf.constant(content)).numpy()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_most_png_are_known_from_their_first_bytes(mode):
    content = small_pictures.encode(picture_files.make(mode))
    assert is_plain(tf.constant(content)).numpy()


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "I;16"])
def test_others_are_looked_at(mode):
    content = small_pictures.encode(picture_files.make(mode))
    assert not is_plain(tf.constant(content)).numpy()


def test_a_key_color_and_an_orientation_are_not_plain():
    image = picture_files.make("RGB")
    keyed = small_pictures.encode(image, transparency=image.getpixel((0, 0)))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = small_pictures.encode(image, exif=exif)
    assert not is_plain(tf.constant(keyed)).numpy()
    assert not is_plain(tf.constant(turned)).numpy()
    assert decoded(keyed)[0, 0].tolist() == [255, 255, 255]
    assert decoded(turned).shape == (32, 24, 3)


@pytest.mark.parametrize("alpha", range(0, 256, 15))
def test_every_share_of_white_is_rounded(alpha):
    colors = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.stack([colors] * 3 + [np.full_like(colors, alpha)], -1)
    expected = np.floor(
        (colors * float(alpha) + 255.0 * (255 - alpha)) / 255 + 0.5
    )
    found = decoded(small_pictures.encode(image))
    np.testing.assert_array_equal(found[..., 0], expected)


def test_large_pictures_are_laid_on_white_in_strips(monkeypatch):
    monkeypatch.setattr(decoders, "_STRIP_PIXELS", 100)
    content = small_pictures.encode(picture_files.make("RGBA"))
    in_strips = decoded(content)
    monkeypatch.undo()
    np.testing.assert_array_equal(in_strips, decoded(content))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_of_every_kind(channels):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 2**16, (5, 6, channels), np.uint16)
    if channels in (2, 4):
        pixels[..., -1] = np.where(pixels[..., -1] < 2**15, 0, 2**16 - 1)
    content = tf.io.encode_png(pixels).numpy()
    colors = (pixels >> 8).astype(np.uint8)
    if channels in (2, 4):
        colors = np.where(colors[..., -1:] == 0, 255, colors[..., :-1])
    expected = np.broadcast_to(colors, (5, 6, 3))
    np.testing.assert_array_equal(decoded(content), expected)


def test_12_bits_of_color_in_16():
    pixels = np.array([[[0x123, 0xFFF, 0]]], np.uint16)
    content = tf.io.encode_png(pixels).numpy()
    assert decoded(content).tolist() == [[[0x12, 0xFF, 0]]]
