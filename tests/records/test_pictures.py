import struct
import sys

import numpy as np
import pytest
from PIL import Image

from noisy_student_tf.records import pictures
from tests import one_decoder, picture_files
from tests.data_prep import small_pictures

# Decoders of JPEG round differently.
_JPEG_TOLERANCE = 4


def reference(content: bytes) -> np.ndarray | None:
    """Return what Pillow reads, upright and on white."""
    try:
        return np.asarray(pictures.open_upright(content)).astype(int)
    except pictures.CorruptImageError:
        return None


def test_every_file_has_the_same_pixels_everywhere():
    differing = []
    for file, outcome in one_decoder.every():
        expected = reference(file.content)
        trained = outcome.trained
        if expected is None or trained is None:
            found = (expected, trained, outcome.served, outcome.classified)
            if any(each is not None for each in found):
                differing.append(f"{file}: not refused everywhere")
            continue
        served = outcome.served
        if served is not None and not np.array_equal(served, trained):
            differing.append(f"{file}: the export")
        if not np.array_equal(outcome.classified, trained):
            differing.append(f"{file}: the scripts")
        is_jpeg = pictures.kind_of(file.content) == "jpeg"
        tolerance = _JPEG_TOLERANCE if is_jpeg else 0
        if (
            trained.shape != expected.shape
            or np.abs(trained - expected).max() > tolerance
        ):
            differing.append(f"{file}: Pillow")
    assert not differing


def test_every_format_that_we_name_was_among_them():
    read = {
        pictures.kind_of(file.content)
        for file, outcome in one_decoder.every()
        if outcome.trained is not None
    }
    assert read == {"jpeg", "png", "webp", "bmp", "gif", "tiff", "avif"}
    orientations = {file.orientation for file, _ in one_decoder.every()}
    assert orientations == set(range(9))


def test_the_page_shows_what_became_of_them():
    text = one_decoder.PAGE.read_text("utf-8")
    assert text == one_decoder.page(text), "python -m tests.one_decoder"


@pytest.mark.parametrize("name", ["L", "RGB", "RGBA"])
def test_heic_is_read(name):
    import pillow_heif

    pillow_heif.register_heif_opener()
    image = picture_files.make(name)
    content = small_pictures.encode(image, "HEIF", quality=-1)
    assert pictures.kind_of(content) == "heic"
    outcome = one_decoder.read(content)
    np.testing.assert_array_equal(outcome.trained, outcome.classified)
    expected = np.asarray(image.convert("RGBA"))
    if name != "RGBA":
        difference = outcome.trained.astype(int) - expected[..., :3]
        assert np.abs(difference).mean() < 8


def test_heic_without_its_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic"
    with pytest.raises(pictures.CorruptImageError, match=r"\.\[heic\]"):
        pictures.to_decodable(content)


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"BMW is a car, and this is a text", b"\0" * 64]
)
def test_other_files_are_no_pictures(content):
    assert not pictures.kind_of(content)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_the_header_tells_the_size(form):
    content = small_pictures.encode(Image.new("RGB", (31, 17)), form)
    assert pictures.read_header(content).size == (31, 17)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_s_size_is_found_behind_its_metadata(options):
    exif = Image.Exif()
    exif[0x010F] = "x" * 3000
    image = Image.new("RGB", (31, 17))
    content = small_pictures.encode(image, "JPEG", exif=exif, **options)
    assert pictures.read_header(content).size == (31, 17)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("length", [4, 13, 19, 25])
def test_a_file_that_ends_in_its_header_is_named(form, length):
    content = small_pictures.encode(Image.new("RGB", (31, 17)), form)
    with pytest.raises(pictures.CorruptImageError):
        pictures.to_decodable(content[:length])
        # Some end behind all that a header says.
        pictures.open_upright(content[:length])


def test_what_only_passes_through_is_not_packed():
    content = small_pictures.encode(Image.new("RGB", (31, 17)), "GIF")
    kept = pictures.to_decodable(content)
    passing = pictures.to_decodable(content, is_kept=False)
    assert kept.startswith(b"\x89PNG") and passing.startswith(b"BM")
    np.testing.assert_array_equal(reference(kept), reference(passing))


def test_heic_is_looked_for_where_its_package_is(monkeypatch):
    assert ".heic" in pictures.extensions()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert ".heic" not in pictures.extensions.__wrapped__()
    assert ".heic" in pictures.ADVICE
