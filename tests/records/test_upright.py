import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from noisy_student_tf.records import upright


def opened(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    return Image.open(io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("scale", [1, 255])
def test_fractions_of_white_and_bytes_are_told_apart(scale):
    pixels = np.array([[0.0, 0.5], [0.25, 1.0]], np.float32)
    found = upright.to_rgb(opened(Image.fromarray(pixels * scale)))
    assert np.asarray(found)[..., 0].tolist() == [[0, 127], [63, 255]]


def test_large_pictures_are_laid_on_white_in_strips(monkeypatch):
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (30, 20, 4), np.uint8))
    whole = upright.to_rgb(image)
    monkeypatch.setattr(upright, "_STRIP_PIXELS", 100)
    assert whole.tobytes() == upright.to_rgb(image).tobytes()
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    assert whole.tobytes() == white.convert("RGB").tobytes()


def test_only_a_png_that_describes_itself_may_lie_otherwise():
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "text")
    image = Image.new("RGB", (4, 3))
    for options, expected in (
        ({}, False),
        ({"dpi": (72, 72)}, False),
        ({"exif": exif}, True),
        ({"pnginfo": text}, True),
    ):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        content = buffer.getvalue()
        assert upright.has_descriptions(content) == expected
        # What is cut off is read as far as it goes.
        assert not upright.has_descriptions(content[:20])
