"""Sequences of slightly perturbed images, as ImageNet-P's and CIFAR-10-P's.

The constants are those of CIFAR-10-P up to 64 pixels and of ImageNet-P above
(hendrycks/robustness, `make_cifar_p.py` and `make_imagenet_p.py`), lengths
scaled with the image's side. What moves into the image is black, as in
CIFAR-10-P.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from data_prep.robustness import (
    corruption_constants,
    corruptions,
    image_filters,
)
from noisy_student_tf.records import robustness_sets

_MIDDLE = 15
_NUM_FRAMES = 2 * _MIDDLE + 1
_SNOW_WEIGHT = 0.85


@dataclasses.dataclass(frozen=True)
class _Constants:
    """What a set was published with; lengths in pixels of its side.

    Attributes:
        side: Of the published images.
        noise: Standard deviation, of pixels in [0, 1].
        photons: Of a white pixel.
        motion: Length and standard deviation of motion blur.
        motion_degrees: Between frames, and their number.
        snow: Zoom, length and standard deviation of the flakes.
        brightness: Added between frames.
        shifts: First and last shift in pixels.
        tilt_degrees: Between frames.
        scale: First scale, and what is added between frames.
    """

    side: int
    noise: float
    photons: float
    motion: tuple[float, float]
    motion_degrees: tuple[float, int]
    snow: tuple[float, float, float]
    brightness: float
    shifts: tuple[int, int]
    tilt_degrees: float
    scale: tuple[float, float]


_SMALL = _Constants(
    side=32,
    noise=0.02,
    photons=700,
    motion=(6, 1.8),
    motion_degrees=(9, 21),
    snow=(2, 10, 2),
    brightness=0.015,
    shifts=(-7, 8),
    tilt_degrees=0.75,
    scale=(0.7, 0.02),
)
_LARGE = _Constants(
    side=224,
    noise=0.03,
    photons=300,
    motion=(10, 3),
    motion_degrees=(4, 31),
    snow=(3, 14, 4),
    brightness=0.02,
    shifts=(-20, 20),
    tilt_degrees=1.0,
    scale=(0.4, 0.025),
)

# (pixels in [0, 1], constants, scale of lengths, generator) -> frames.
_Frames = Iterator[np.ndarray]
_Perturbation = Callable[
    [np.ndarray, _Constants, float, np.random.Generator], _Frames
]


def perturb(
    image: np.ndarray, *, perturbation: str, generator: np.random.Generator
) -> np.ndarray:
    """Return a sequence of perturbed images.

    Args:
        image: uint8 [side, side, 3].
        perturbation: One of `robustness_sets.PERTURBATIONS`.
        generator: What is drawn from.

    Returns:
        uint8 [num_frames, side, side, 3]. Of noise, the first frame is the
        clean image.

    Raises:
        ValueError: There is no such perturbation.
    """
    if perturbation not in _FUNCTIONS:
        raise ValueError(
            f"There is no perturbation {perturbation!r}. Accepted: "
            f"{', '.join(robustness_sets.PERTURBATIONS)}."
        )
    side = image.shape[0]
    is_small = side <= corruption_constants.MAX_SMALL_SIDE
    constants = _SMALL if is_small else _LARGE
    frames = _FUNCTIONS[perturbation](
        image / 255.0, constants, side / constants.side, generator
    )
    stacked = np.clip(np.stack(list(frames)), 0, 1) * 255
    return np.around(stacked).astype(np.uint8)


def _gaussian_noise(image, constants, scale, generator) -> _Frames:
    yield image
    for _ in range(_NUM_FRAMES - 1):
        yield image + generator.normal(size=image.shape, scale=constants.noise)


def _shot_noise(image, constants, scale, generator) -> _Frames:
    yield image
    for _ in range(_NUM_FRAMES - 1):
        yield generator.poisson(image * constants.photons) / constants.photons


def _motion_blur(image, constants, scale, generator) -> _Frames:
    length, sigma = constants.motion
    degrees, num_frames = constants.motion_degrees
    for number in range(num_frames):
        yield image_filters.motion_blur(
            image,
            length=length * scale,
            sigma=sigma * scale,
            angle=(number - num_frames + 1) * degrees,
        )


def _zoom_blur(image, constants, scale, generator) -> _Frames:
    total = image.copy()
    yield image
    for number in range(1, _NUM_FRAMES):
        total += _transform(image, scale=1 + 0.004 * number)
        yield total / (number + 1)


def _snow(image, constants, scale, generator) -> _Frames:
    zoom, length, sigma = constants.snow
    flakes = generator.normal(0.05, 0.3, size=(*image.shape[:2], 1))
    flakes = image_filters.clipped_zoom(flakes, zoom)
    flakes = np.clip(np.where(flakes < 0.5, 0, flakes), 0, 1)
    pale = corruptions.whiten(image, _SNOW_WEIGHT)
    for number in range(_NUM_FRAMES):
        falling = image_filters.motion_blur(
            flakes,
            length=length * scale,
            sigma=sigma * scale,
            angle=4 * number - 150,
        )
        yield pale + falling + np.rot90(falling, k=2)


def _brightness(image, constants, scale, generator) -> _Frames:
    for number in range(_NUM_FRAMES):
        offset = (number - _MIDDLE) * constants.brightness
        yield corruptions.brighten(image, offset)


def _translate(image, constants, scale, generator) -> _Frames:
    first, last = constants.shifts
    for pixels in range(first, last + 1):
        # As many frames as published: small images shift by parts of pixels.
        yield _transform(image, columns=pixels * scale)


def _rotate(image, constants, scale, generator) -> _Frames:
    for number in range(_NUM_FRAMES):
        yield _transform(image, degrees=number - _MIDDLE)


def _scale(image, constants, scale, generator) -> _Frames:
    first, step = constants.scale
    for number in range(_NUM_FRAMES):
        yield _transform(image, scale=first + number * step)


def _tilt(image, constants, scale, generator) -> _Frames:
    for number in range(_NUM_FRAMES):
        degrees = (number - _MIDDLE) * constants.tilt_degrees
        matrix = _tilt_matrix(image.shape[0], math.radians(degrees))
        yield image_filters.warp(image, np.linalg.inv(matrix))


def _transform(
    image: np.ndarray,
    *,
    degrees: float = 0.0,
    scale: float = 1.0,
    columns: float = 0.0,
) -> np.ndarray:
    """Turn and scale an image about its center, and shift it to the right."""
    middle = (image.shape[0] - 1) / 2
    radians = math.radians(degrees)
    cosine, sine = math.cos(radians) / scale, math.sin(radians) / scale
    # From the result's points to the image's.
    to_center = np.array(
        [[1, 0, -middle - columns], [0, 1, -middle], [0, 0, 1]]
    )
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    back = np.array([[1, 0, middle], [0, 1, middle], [0, 0, 1]])
    return image_filters.warp(image, back @ turn @ to_center)


def _tilt_matrix(side: int, radians: float) -> np.ndarray:
    """Return the projection of an image turned about both of its axes.

    The camera's focal length is the image's diagonal.
    """
    cosine, sine = math.cos(radians), math.sin(radians)
    focal = math.sqrt(2) * side
    lift = np.array(
        [[1, 0, -side / 2], [0, 1, -side / 2], [0, 0, 1], [0, 0, 1]]
    )
    about_x = np.eye(4)
    about_x[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    about_y = np.eye(4)
    about_y[[0, 0, 2, 2], [0, 2, 0, 2]] = [cosine, -sine, sine, cosine]
    away = np.eye(4)
    away[2, 3] = focal
    project = np.array(
        [[focal, 0, side / 2, 0], [0, focal, side / 2, 0], [0, 0, 1, 0]]
    )
    return project @ away @ about_x @ about_y @ lift


_FUNCTIONS: dict[str, _Perturbation] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "brightness": _brightness,
    "translate": _translate,
    "rotate": _rotate,
    "tilt": _tilt,
    "scale": _scale,
}
