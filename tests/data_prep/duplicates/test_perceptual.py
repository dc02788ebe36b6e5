import numpy as np
import pytest
from PIL import Image, ImageEnhance

from data_prep.duplicates import perceptual
from tests.data_prep import small_pictures


def scene(seed, size=(320, 240)):
    """A smooth picture with shapes, such as no other seed gives."""
    noise = small_pictures.pixels(seed, height=6, width=8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def hashed(picture, kind="PNG", min_side=64, **options):
    encoded = small_pictures.encode(picture, kind, **options)
    return perceptual.hash_picture(encoded, min_side=min_side)


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture.resize((160, 120)),
        lambda picture: picture.resize((512, 384)),
        lambda picture: ImageEnhance.Brightness(picture).enhance(0.9),
    ],
)
def test_copies_are_near_and_others_far(change):
    for seed in range(8):
        original = hashed(scene(seed))
        copy = hashed(change(scene(seed)), "JPEG", quality=50)
        assert (original ^ copy).bit_count() <= 4
        assert (original ^ hashed(scene(seed + 100))).bit_count() > 12


def test_small_flat_and_unreadable_pictures_have_none():
    assert hashed(scene(0, (64, 64))) is not None
    assert hashed(scene(0, (200, 63))) is None
    assert hashed(Image.new("RGB", (100, 100), "white")) is None
    assert perceptual.hash_picture(b"no picture", min_side=1) is None
    assert np.uint64(hashed(scene(0))) == hashed(scene(0))
