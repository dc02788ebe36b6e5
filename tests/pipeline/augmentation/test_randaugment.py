import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.pipeline.augmentation import operations, randaugment

LEVELS = json.loads(
    (
        pathlib.Path(__file__).parents[2] / "golden" / "randaugment_levels.json"
    ).read_text()
)
IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def _our_name(published: str) -> str:
    if published == "AutoContrast":
        return "autocontrast"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", published).lower()


def _levels(**policy):
    return randaugment.levels(configs.PolicyConfig(**policy))


@pytest.mark.parametrize("magnitude", LEVELS)
def test_levels_equal_the_published_formulas(magnitude):
    expected = {_our_name(name): v for name, v in LEVELS[magnitude].items()}
    assert set(expected) == set(operations.OPERATIONS)
    levels = _levels(magnitude=float(magnitude))
    for operation, value in expected.items():
        ours = levels[operation]
        if value is None:
            assert ours is None
        else:
            # Shears were recorded after their float32 sign.
            assert np.float32(ours) == np.float32(value), operation
            assert isinstance(ours, int) == isinstance(value, int)


def test_constants_of_translate_and_cutout_are_parameters():
    levels = _levels(magnitude=5.0, translate_pixels=4.0, cutout_pixels=4.0)
    assert levels["translate_x"] == 2.0
    assert levels["cutout"] == 2


def _apply(images, draws, magnitude=4.0, num_ops=1) -> np.ndarray:
    return randaugment.apply(
        tf.constant(images),
        configs.PolicyConfig(
            num_ops=num_ops,
            magnitude=magnitude,
            translate_pixels=10.0,
            cutout_pixels=5.0,
        ),
        tf.constant(draws, tf.float32),
    ).numpy()


def _possible_outcomes(magnitude: float) -> dict[str, bytes]:
    outcomes = {}
    levels = _levels(magnitude=magnitude, translate_pixels=10.0)
    image = tf.constant(IMAGE)
    for name, operation in operations.OPERATIONS.items():
        argument = levels[name]
        if operation.draws == "center":
            continue
        if operation.draws == "sign":
            for sign in (1, -1):
                turned = operations.geometric(image, name, sign * argument)
                outcomes[f"{name} {sign}"] = turned.numpy().tobytes()
            continue
        noised = operation.function(
            image, *([] if argument is None else [argument])
        )
        outcomes[name] = noised.numpy().tobytes()
    return outcomes


def test_every_operation_and_both_signs_are_drawn_as_often_as_chance_gives():
    outcomes = _possible_outcomes(4.0)
    assert len(set(outcomes.values())) == len(outcomes) == 20
    num_draws = 640
    draws = tf.random.stateless_uniform([num_draws, 1, 4], [1, 5])
    images = _apply(np.tile(IMAGE, [num_draws, 1, 1, 1]), draws)
    drawn = [image.tobytes() for image in images]
    counts = {name: drawn.count(value) for name, value in outcomes.items()}
    for name, count in counts.items():
        # 40 of 640 (20 of each sign); five deviations are 31 (22).
        expected = 20 if name[-1] == "1" else 40
        assert abs(count - expected) < 5 * expected**0.5, (name, count)
    num_cutouts = num_draws - sum(counts.values())
    assert abs(num_cutouts - 40) < 32


def test_large_images_are_noised_as_small_ones_are(monkeypatch):
    images = np.random.default_rng(2).integers(0, 256, (6, 24, 24, 3), np.uint8)
    draws = np.random.default_rng(3).random((6, 2, 4))
    at_once = _apply(images, draws, num_ops=2)
    monkeypatch.setattr(randaugment, "_MAX_SMALL_PIXELS", 0)
    one_by_one = [
        _apply(images[i : i + 1], draws[i : i + 1], num_ops=2)[0]
        for i in range(6)
    ]
    np.testing.assert_array_equal(at_once, one_by_one)
    np.testing.assert_array_equal(_apply(images, draws, num_ops=2), at_once)


def test_no_operation_leaves_images_as_they_are():
    images = IMAGE[np.newaxis]
    noised = _apply(images, np.zeros((1, 0, 4)), num_ops=0)
    np.testing.assert_array_equal(noised, images)


@pytest.mark.parametrize("magnitude", [0.0, 10.0, 27.0, 30.0])
def test_all_operations_run_at_all_magnitudes(magnitude):
    draws = np.zeros((16, 1, 4))
    draws[:, 0, 0] = (np.arange(16) + 0.5) / 16
    images = np.tile(IMAGE, [16, 1, 1, 1])
    noised = _apply(images, draws, magnitude)
    assert noised.shape == images.shape
    assert noised.dtype == np.uint8


def test_clipped_levels_stay_in_the_nominal_range():
    clipped = _levels(magnitude=27.0, level_range="clipped")
    assert clipped == _levels(magnitude=10.0)
    inside = _levels(magnitude=7.0, level_range="clipped")
    assert inside == _levels(magnitude=7.0)


def test_corrected_contrast_blends_with_the_mean_gray_level():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2] = 200
    # Half of the image is 200, half 0: 100.
    constant = operations.corrected_contrast(tf.constant(image), 0.0).numpy()
    assert (constant == 100).all()
    twice = operations.corrected_contrast(tf.constant(image), 1.5).numpy()
    np.testing.assert_array_equal(np.unique(twice), [0, 250])


def test_one_operation_is_applied_by_name():
    policy = configs.PolicyConfig(magnitude=10.0)
    inverted = randaugment.apply_one(
        tf.constant(IMAGE), "invert", policy, seed=0
    )
    np.testing.assert_array_equal(inverted, 255 - IMAGE)
