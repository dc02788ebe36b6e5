"""Sequences of slightly perturbed images, as ImageNet-P's and CIFAR-10-P's.

The constants are those of CIFAR-10-P up to 64 pixels and of ImageNet-P above
(hendrycks/robustness, `make_cifar_p.py` and `make_imagenet_p.py`), lengths
scaled with the image's side. What moves into the image is black, as in
CIFAR-10-P.
"""

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


# (pixels in [0, 1], scale of lengths, generator, constants) -> frames.
_Frames = Iterator[np.ndarray]
_Perturbation = Callable[..., _Frames]


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
    function, small, large = _FUNCTIONS[perturbation]
    constants = small if corruption_constants.is_small(side) else large
    scale = corruption_constants.length_scale(side)
    frames = function(image / 255.0, scale, generator, *constants)
    return image_filters.to_bytes(np.stack(list(frames)))


def _gaussian_noise(image, scale, generator, deviation) -> _Frames:
    yield image
    for _ in range(_NUM_FRAMES - 1):
        yield image + generator.normal(size=image.shape, scale=deviation)


def _shot_noise(image, scale, generator, photons) -> _Frames:
    yield image
    for _ in range(_NUM_FRAMES - 1):
        yield generator.poisson(image * photons) / photons


def _motion_blur(
    image, scale, generator, length, sigma, degrees, num_frames
) -> _Frames:
    for number in range(num_frames):
        yield image_filters.motion_blur(
            image,
            length=length * scale,
            sigma=sigma * scale,
            angle=(number - num_frames + 1) * degrees,
        )


def _zoom_blur(image, scale, generator) -> _Frames:
    total = image.copy()
    yield image
    for number in range(1, _NUM_FRAMES):
        total += _transform(image, scale=1 + 0.004 * number)
        yield total / (number + 1)


def _snow(image, scale, generator, zoom, length, sigma) -> _Frames:
    flakes = image_filters.draw_flakes(
        generator, image.shape, 0.05, 0.3, threshold=0.5, zoom=zoom
    )
    pale = corruptions.whiten(image, _SNOW_WEIGHT)
    for number in range(_NUM_FRAMES):
        falling = image_filters.motion_blur(
            flakes,
            length=length * scale,
            sigma=sigma * scale,
            angle=4 * number - 150,
        )
        yield pale + falling + np.rot90(falling, k=2)


def _brightness(image, scale, generator, step) -> _Frames:
    for number in range(_NUM_FRAMES):
        offset = (number - _MIDDLE) * step
        yield image_filters.shift_hsv(image, 2, offset=offset)


def _translate(image, scale, generator, first, last) -> _Frames:
    for pixels in range(first, last + 1):
        # As many frames as published: small images shift by parts of pixels.
        yield _transform(image, columns=pixels * scale)


def _rotate(image, scale, generator) -> _Frames:
    for number in range(_NUM_FRAMES):
        yield _transform(image, degrees=number - _MIDDLE)


def _scale(image, scale, generator, first, step) -> _Frames:
    for number in range(_NUM_FRAMES):
        yield _transform(image, scale=first + number * step)


def _tilt(image, scale, generator, step_degrees) -> _Frames:
    for number in range(_NUM_FRAMES):
        degrees = (number - _MIDDLE) * step_degrees
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


# Function, and what it takes at 32 and at 224 pixels.
_FUNCTIONS: dict[str, tuple[_Perturbation, tuple, tuple]] = {
    # Standard deviation, of pixels in [0, 1].
    "gaussian_noise": (_gaussian_noise, (0.02,), (0.03,)),
    # Photons of a white pixel.
    "shot_noise": (_shot_noise, (700,), (300,)),
    # Length and standard deviation in pixels; degrees between frames, and
    # their number.
    "motion_blur": (_motion_blur, (6, 1.8, 9, 21), (10, 3, 4, 31)),
    "zoom_blur": (_zoom_blur, (), ()),
    # Zoom, length and standard deviation of the flakes.
    "snow": (_snow, (2, 10, 2), (3, 14, 4)),
    # Added between frames.
    "brightness": (_brightness, (0.015,), (0.02,)),
    # First and last shift in pixels.
    "translate": (_translate, (-7, 8), (-20, 20)),
    "rotate": (_rotate, (), ()),
    # Degrees between frames.
    "tilt": (_tilt, (0.75,), (1.0,)),
    # First scale, and what is added between frames.
    "scale": (_scale, (0.7, 0.02), (0.4, 0.025)),
}
