import pathlib

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.pipeline.augmentation import operations

GOLDEN = np.load(
    pathlib.Path(__file__).parents[2] / "golden" / "randaugment_ops.npz"
)
GEOMETRIC_OPERATIONS = [
    name
    for name, operation in operations.OPERATIONS.items()
    if operation.draws == "sign"
]
CASES = [name for name in GOLDEN.files if name != "images"]
INTEGER_ARGUMENTS = ("posterize", "solarize", "solarize_add")


def _apply(case: str, image: np.ndarray) -> np.ndarray:
    operation, _, argument = case.partition("|")
    image = tf.constant(image)
    if operation in GEOMETRIC_OPERATIONS:
        return operations.geometric(image, operation, float(argument)).numpy()
    function = operations.OPERATIONS[operation].function
    if not argument:
        return function(image).numpy()
    number = int if operation in INTEGER_ARGUMENTS else float
    return function(image, number(argument)).numpy()


@pytest.mark.parametrize("case", CASES)
def test_operations_equal_the_published_ones_pixel_by_pixel(case):
    for image, expected in zip(GOLDEN["images"], GOLDEN[case], strict=True):
        np.testing.assert_array_equal(_apply(case, image), expected)


def test_golden_cases_cover_every_operation_but_cutout():
    covered = {case.partition("|")[0] for case in CASES}
    assert covered == set(operations.OPERATIONS) - {"cutout"}


@pytest.mark.parametrize("operation", GEOMETRIC_OPERATIONS)
def test_a_negative_sign_turns_geometry_around(operation):
    image = tf.constant(GOLDEN["images"][0])
    negative = operations.geometric(
        image, operation, 0.3, is_negative=tf.constant(True)
    )
    expected = operations.geometric(image, operation, -0.3)
    np.testing.assert_array_equal(negative, expected)


def test_translate_moves_the_picture_left_and_fills_with_gray():
    image = tf.constant(GOLDEN["images"][0])
    moved = operations.geometric(image, "translate_x", 5.0).numpy()
    np.testing.assert_array_equal(moved[:, :-5], image[:, 5:])
    assert (moved[:, -5:] == 128).all()


def test_translate_beyond_the_picture_leaves_gray():
    image = tf.constant(GOLDEN["images"][0])
    moved = operations.geometric(image, "translate_y", 270.0).numpy()
    assert (moved == 128).all()


def test_cutout_covers_the_square_around_its_center():
    image = tf.zeros([10, 20, 3], tf.uint8)
    # Row 5 and column 10 are the center: rows 3-6 and columns 8-11 go.
    covered = operations.cutout(image, 2, tf.constant([0.5, 0.5])).numpy()
    expected = np.zeros((10, 20, 3), np.uint8)
    expected[3:7, 8:12] = 128
    np.testing.assert_array_equal(covered, expected)


@pytest.mark.parametrize(
    ("center", "rows", "columns"),
    [
        ([0.0, 0.0], slice(0, 3), slice(0, 3)),
        ([0.99, 0.99], slice(6, 10), slice(16, 20)),
    ],
)
def test_cutout_stops_at_the_border(center, rows, columns):
    image = tf.zeros([10, 20, 3], tf.uint8)
    covered = operations.cutout(image, 3, tf.constant(center)).numpy()
    expected = np.zeros((10, 20, 3), np.uint8)
    expected[rows, columns] = 128
    np.testing.assert_array_equal(covered, expected)


def test_cutout_can_cover_all():
    image = tf.zeros([10, 20, 3], tf.uint8)
    covered = operations.cutout(image, 108, tf.constant([0.5, 0.5])).numpy()
    assert (covered == 128).all()


def test_contrast_blends_with_a_constant_of_the_size_not_with_the_mean():
    # 224 * 224 / 256 = 196; from 256 x 256 on it is 255.
    dark = tf.zeros([224, 224, 3], tf.uint8)
    assert (operations.contrast(dark, 0.0).numpy() == 196).all()
    dark = tf.zeros([300, 300, 3], tf.uint8)
    assert (operations.contrast(dark, 0.0).numpy() == 255).all()


def test_posterize_to_no_bits_keeps_the_top_bit():
    values = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    kept = operations.posterize(tf.constant(values), 0).numpy()
    np.testing.assert_array_equal(kept, values & 128)
