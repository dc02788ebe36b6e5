"""Corruptions against TensorFlow Datasets' where those run, and by hand."""

import numpy as np
import pytest
from tensorflow_datasets.image_classification import corruptions as theirs

from data_prep.robustness import corruptions, perturbations, robustness_shards
from noisy_student_tf.records import robustness_sets


class SharedStream:
    """NumPy's old global generator behind the names of the new one."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)
        self.normal = self._state.normal
        self.poisson = self._state.poisson
        self.uniform = self._state.uniform
        self.integers = self._state.randint


def photo(side: int) -> np.ndarray:
    """Return a smooth picture in color: uint8 [side, side, 3]."""
    rows, columns = np.mgrid[:side, :side] / side
    waves = [np.sin(7 * rows + k) * np.cos(5 * columns - k) for k in range(3)]
    return np.uint8(127 + 120 * np.stack(waves, -1))


def corrupt(image, corruption, severity, seed=0):
    return corruptions.corrupt(
        image,
        corruption=corruption,
        severity=severity,
        generator=np.random.default_rng(seed),
    )


SAME_AS_TFDS = (
    "gaussian_noise",
    "shot_noise",
    "speckle_noise",
    "glass_blur",
    "zoom_blur",
    "fog",
    "brightness",
    "contrast",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
)


@pytest.mark.parametrize(
    ("name", "severity"),
    [(name, 5) for name in SAME_AS_TFDS]
    # Glass blur goes pixel by pixel: one severity takes a second.
    + [(name, 1) for name in SAME_AS_TFDS if name != "glass_blur"],
)
def test_pixels_are_those_of_tfds_at_224(name, severity):
    image = photo(224)
    np.random.seed(3)
    expected = getattr(theirs, name)(image, severity)
    actual = corruptions.corrupt(
        image,
        corruption=name,
        severity=severity,
        generator=SharedStream(3),
    )
    difference = np.abs(actual.astype(int) - expected.astype(int))
    # A rounding of float32 may fall to the other side.
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.99


@pytest.mark.parametrize("name", corruptions.NAMES)
def test_every_corruption_changes_a_small_image_and_repeats_itself(name):
    image = photo(24)
    first = corrupt(image, name, 5)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert (first != image).any()
    np.testing.assert_array_equal(first, corrupt(image, name, 5))


def test_impulse_noise_hits_the_published_share():
    image = np.full((64, 64, 3), 100, np.uint8)
    hit = corrupt(image, "impulse_noise", 5)
    assert set(np.unique(hit)) == {0, 100, 255}
    assert (hit != 100).mean() == pytest.approx(0.07, abs=0.01)


def test_large_images_take_the_stronger_constants():
    flat = {side: np.full((side, side, 3), 128, np.uint8) for side in (64, 65)}
    spread = {
        side: corrupt(image, "gaussian_noise", 1).astype(float).std()
        for side, image in flat.items()
    }
    assert spread[64] == pytest.approx(0.04 * 255, rel=0.05)
    assert spread[65] == pytest.approx(0.08 * 255, rel=0.05)


def test_motion_blur_moves_no_light_and_goes_to_one_side():
    point = np.zeros((21, 21, 3))
    point[10, 10] = 1
    blurred = corruptions.image_filters.motion_blur(
        point, length=4, sigma=2, angle=0
    )
    assert blurred.sum() == pytest.approx(3)
    assert (blurred[10, 10:15, 0] > 0).all()
    assert blurred[10, :10].sum() == 0


def test_unknown_corruption_and_severity_are_refused():
    with pytest.raises(ValueError, match="no corruption 'rain'"):
        corrupt(photo(8), "rain", 1)
    with pytest.raises(ValueError, match="severity 6"):
        corrupt(photo(8), "fog", 6)


@pytest.mark.parametrize("name", robustness_sets.PERTURBATIONS)
def test_sequences_move_in_small_steps(name):
    image = photo(24)
    frames = perturbations.perturb(
        image, perturbation=name, generator=np.random.default_rng(0)
    ).astype(float)
    count = {"translate": 16, "motion_blur": 21}.get(name, 31)
    assert frames.shape == (count, 24, 24, 3)
    if robustness_sets.is_noise(name):
        np.testing.assert_array_equal(frames[0], image)
    step = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    # Whole pixels: a short streak may keep its place for a frame.
    assert (step > 0).mean() > 0.9
    # A row of the black frame comes in at once.
    assert step.max() < 30


def test_the_middle_of_a_turning_sequence_is_the_image_itself():
    image = photo(32)
    # Tilted ones are seen from a little farther away, as published.
    for name in ("rotate", "brightness"):
        frames = perturbations.perturb(
            image, perturbation=name, generator=np.random.default_rng(0)
        )
        difference = np.abs(frames[15].astype(int) - image)[1:-1, 1:-1]
        assert difference.max() <= 2, name


def test_translation_shifts_by_whole_pixels_at_the_published_side():
    image = photo(32)
    frames = perturbations.perturb(
        image, perturbation="translate", generator=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(frames[7], image)
    np.testing.assert_array_equal(frames[10][:, 3:], image[:, :-3])
    assert (frames[10][:, :3] == 0).all()


def test_noise_depends_on_the_id_the_part_and_nothing_else():
    def draw(image_id=b"a", name="fog", severity=1):
        generator = robustness_shards.make_generator(image_id, name, severity)
        return generator.random()

    assert draw() == draw()
    others = {draw(b"b"), draw(name="snow"), draw(severity=2)}
    assert draw() not in others
    assert len(others) == 3
