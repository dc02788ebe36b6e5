import io
import pathlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from noisy_student_tf.pipeline import decode, decoders

GOLDEN = np.load(
    pathlib.Path(__file__).parent.parent / "golden" / "eval_preprocess.npz"
)
JPEG = tf.constant(GOLDEN["jpeg"].tobytes())


def _encode(mode: str, file_format: str) -> bytes:
    rows, columns = np.mgrid[0:12, 0:16]
    image = np.stack([rows * 20, columns * 15, rows * 0 + 90], -1)
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(image.astype(np.uint8)).convert(mode)
    picture.save(buffer, file_format)
    return buffer.getvalue()


@pytest.mark.parametrize("resolution", [64, 96, 224])
def test_the_test_image_equals_the_published_one(resolution):
    image = decode.test_image(JPEG, resolution).numpy()
    np.testing.assert_array_equal(image, GOLDEN[f"eval_{resolution}"])


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGB", "PNG"),
        ("L", "PNG"),
        ("P", "PNG"),
        ("RGB", "BMP"),
        ("RGB", "WEBP"),
    ],
)
def test_formats_and_modes_come_out_as_rgb(mode, file_format):
    encoded = _encode(mode, file_format)
    image = decode.decode(tf.constant(encoded)).numpy()
    assert image.shape == (12, 16, 3)
    assert image.dtype == np.uint8
    expected = PIL.Image.open(io.BytesIO(encoded)).convert("RGB")
    difference = np.abs(image - np.asarray(expected, np.float32))
    assert difference.mean() < 2.0


@pytest.mark.parametrize(
    ("mode", "file_format"), [("P", "GIF"), ("L", "BMP"), ("RGB", "TIFF")]
)
def test_what_would_have_other_pixels_is_refused(mode, file_format):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoders.decode(tf.constant(_encode(mode, file_format)))


def test_bytes_that_are_no_picture_are_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="DecodeImage"):
        decode.decode(tf.constant(b"no picture at all"))


def test_a_box_of_a_jpeg_equals_the_box_of_the_whole_picture():
    whole = decode.decode(JPEG).numpy()
    for box in ([13, 63, 175, 175], [0, 0, 30, 41], [101, 7, 99, 293]):
        part = decode.decode_box(JPEG, lambda size, box=box: tf.constant(box))
        top, left, height, width = box
        expected = whole[top : top + height, left : left + width]
        np.testing.assert_array_equal(part, expected)


def test_a_box_of_a_png_is_cut_out():
    encoded = tf.constant(_encode("RGB", "PNG"))
    part = decode.decode_box(encoded, lambda size: tf.constant([2, 3, 4, 5]))
    expected = decode.decode(encoded)[2:6, 3:8]
    np.testing.assert_array_equal(part, expected)


def test_the_center_box_is_the_published_share_of_the_short_edge():
    # 224 / 256 of 200 is 175; (200 - 175 + 1) // 2 = 13.
    box = decode.center_box(tf.constant([200, 300]), resolution=224)
    np.testing.assert_array_equal(box, [13, 63, 175, 175])


def test_the_center_box_of_one_pixel_is_that_pixel():
    box = decode.center_box(tf.constant([1, 1]), resolution=32)
    np.testing.assert_array_equal(box[2:], [1, 1])


def _random_boxes(size: list[int], num_boxes: int) -> np.ndarray:
    draw = tf.function(
        lambda seed: decode.random_box(
            tf.constant(size), resolution=224, seed=seed
        )
    )
    return np.array([draw(tf.constant([i, 3])) for i in range(num_boxes)])


def test_random_boxes_keep_to_the_published_area_and_aspect():
    boxes = _random_boxes([300, 400], 200)
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 300).all()
    assert (left + width <= 400).all()
    area = height * width / (300 * 400)
    assert area.min() > 0.075
    assert area.max() > 0.7
    assert area.min() < 0.2
    aspect = width / height
    assert aspect.min() > 0.73
    assert aspect.max() < 1.36
    assert len(np.unique(boxes, axis=0)) == 200


def test_where_no_random_box_fits_it_is_the_test_crop():
    # No box of an aspect up to 4 / 3 covers 0.08 of a strip.
    boxes = _random_boxes([10, 4000], 5)
    expected = decode.center_box(tf.constant([10, 4000]), resolution=224)
    np.testing.assert_array_equal(boxes, np.tile(expected, [5, 1]))


def test_the_whole_picture_of_the_right_size_keeps_its_pixels():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    encoded = tf.io.encode_png(image)
    whole = decode.test_image(encoded, 32, crop="whole").numpy()
    np.testing.assert_array_equal(whole, image)


def test_the_whole_picture_of_another_size_is_resized():
    image = np.full((8, 10, 3), 77, np.uint8)
    whole = decode.test_image(tf.io.encode_png(image), 32, crop="whole")
    np.testing.assert_allclose(whole, np.full((32, 32, 3), 77.0), rtol=1e-5)


def test_float_pixels_are_clipped_and_cut_off():
    pixels = tf.constant([-3.0, 0.9, 254.99, 270.0])
    np.testing.assert_array_equal(decode.to_uint8(pixels), [0, 0, 254, 255])


def test_scaled_decoding_gives_nearly_the_same_crop():
    """Boxes of 100 x 140 for a result of 30: at a half of the size."""
    rows, columns = np.mgrid[0:160, 0:200]
    smooth = np.stack([rows, columns, (rows + columns) // 2], -1)
    encoded = tf.io.encode_jpeg(smooth.astype(np.uint8), quality=95)

    def part(min_side):
        return decode.decode_box(
            encoded,
            lambda _: tf.constant([20, 40, 100, 140]),
            min_side=min_side,
        )

    assert part(30).shape == (50, 70, 3)
    assert part(51).shape == (100, 140, 3)
    difference = decode.resize(part(30), 30) - decode.resize(part(None), 30)
    assert np.abs(difference.numpy()).mean() < 2


@pytest.mark.parametrize("crop", ["center", "whole"])
def test_a_decoded_picture_gives_the_same_test_image(crop):
    image = decode.crop_and_resize(decode.decode(JPEG), 16, crop=crop)
    expected = decode.test_image(JPEG, 16, crop=crop)
    np.testing.assert_array_equal(image, expected)
