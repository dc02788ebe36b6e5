"""Common corruptions of images, as ImageNet-C's and CIFAR-10-C's.

They are written here because no kept library serves: `imagecorruptions` fails
with today's scikit-image and NumPy on three of them, and TensorFlow Datasets'
functions want OpenCV, ImageMagick and photographs of frost, work at 224 x 224
alone and draw from NumPy's global state. Where those run they give the same
pixels, which is tested. Frost and spatter are ours: drawn, not photographed.

Every draw comes from the generator that is passed in: an image's corruption
depends on its id alone.
"""

import io
from collections.abc import Callable
from typing import Any

import matplotlib.colors
import numpy as np
from PIL import Image
from scipy import ndimage

from data_prep.robustness import corruption_constants, image_filters
from noisy_student_tf.records import robustness_sets

NAMES = robustness_sets.CORRUPTIONS + robustness_sets.EXTRA_CORRUPTIONS

_FOG_MAP_SIDE = 512
_SMALL_FOG_MAP_SIDE = 32
# Rec. 601, as OpenCV's gray.
_LUMA = np.array([0.299, 0.587, 0.114])
_WATER_RGB = np.array([175, 238, 238]) / 255
_MUD_RGB = np.array([63, 42, 20]) / 255
_FROST_RGB = np.array([0.85, 0.93, 1.0])

# (pixels in [0, 1], constants, scale of lengths, generator) -> pixels.
_Corruption = Callable[
    [np.ndarray, Any, float, np.random.Generator], np.ndarray
]


def corrupt(
    image: np.ndarray,
    *,
    corruption: str,
    severity: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return a corrupted image.

    Args:
        image: uint8 [height, width, 3].
        corruption: One of `NAMES`.
        severity: From 1 to 5.
        generator: What is drawn from.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: There is no such corruption or severity.
    """
    if corruption not in _FUNCTIONS:
        raise ValueError(
            f"There is no corruption {corruption!r}. Accepted: "
            f"{', '.join(NAMES)}."
        )
    if severity not in robustness_sets.SEVERITIES:
        raise ValueError(
            f"severity {severity}: accepted is a whole number from 1 to 5."
        )
    side = min(image.shape[:2])
    table = corruption_constants.table(side)
    corrupted = _FUNCTIONS[corruption](
        image / 255.0,
        table.values[corruption][severity - 1],
        side / table.side,
        generator,
    )
    return np.around(np.clip(corrupted, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(image, constant, scale, generator):
    return image + generator.normal(size=image.shape, scale=constant)


def _shot_noise(image, constant, scale, generator):
    return generator.poisson(image * constant) / constant


def _impulse_noise(image, constant, scale, generator):
    is_hit = generator.random(image.shape) <= constant
    is_salt = generator.random(image.shape) <= 0.5
    return np.where(is_hit, is_salt, image)


def _speckle_noise(image, constant, scale, generator):
    return image + image * generator.normal(size=image.shape, scale=constant)


def _gaussian_blur(image, constant, scale, generator):
    return image_filters.gaussian(image, constant * scale)


def _defocus_blur(image, constant, scale, generator):
    radius, edge_sigma = constant
    kernel = image_filters.disk(radius * scale, edge_sigma)
    return image_filters.convolve(image, kernel)


def _glass_blur(image, constant, scale, generator):
    sigma, shift, repetitions = constant
    sigma, shift = sigma * scale, max(round(shift * scale), 1)
    # Cut off, not rounded, as published.
    pixels = (image_filters.gaussian(image, sigma) * 255).astype(np.uint8)
    rows = range(pixels.shape[0] - shift, shift, -1)
    columns = range(pixels.shape[1] - shift, shift, -1)
    for _ in range(repetitions):
        moves = generator.integers(
            -shift, shift, size=(len(rows), len(columns), 2)
        ).tolist()
        for row, row_moves in zip(rows, moves, strict=True):
            for column, (right, down) in zip(columns, row_moves, strict=True):
                # The published exchange of two pixels is a copy: both sides
                # of its assignment are views.
                pixels[row, column] = pixels[row + down, column + right]
    return image_filters.gaussian(pixels / 255.0, sigma)


def _motion_blur(image, constant, scale, generator):
    length, sigma = constant
    return image_filters.motion_blur(
        image,
        length=length * scale,
        sigma=sigma * scale,
        angle=generator.uniform(-45, 45),
    )


def _zoom_blur(image, constant, scale, generator):
    end, step = constant
    factors = np.arange(1, end, step)
    zoomed = [image_filters.clipped_zoom(image, factor) for factor in factors]
    return (image + sum(zoomed)) / (len(factors) + 1)


def _snow(image, constant, scale, generator):
    mean, deviation, zoom, threshold, length, sigma, weight = constant
    flakes = generator.normal(mean, deviation, size=(*image.shape[:2], 1))
    flakes = image_filters.clipped_zoom(flakes, zoom)
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = image_filters.motion_blur(
        flakes,
        length=length * scale,
        sigma=sigma * scale,
        angle=generator.uniform(-135, -45),
    )
    return whiten(image, weight) + flakes + np.rot90(flakes, k=2)


def whiten(image: np.ndarray, weight: float) -> np.ndarray:
    """Return an image under the pale light of falling snow.

    Args:
        image: float [height, width, 3] in [0, 1].
        weight: Of the image.
    """
    gray = (image @ _LUMA)[..., np.newaxis]
    return weight * image + (1 - weight) * np.maximum(image, gray * 1.5 + 0.5)


def _frost(image, constant, scale, generator):
    image_weight, frost_weight = constant
    side = max(image.shape[:2])
    cloud = image_filters.fractal(
        image_filters.power_of_two(side), 1.6, generator
    )[: image.shape[0], : image.shape[1]]
    # Crystals grow along the cloud's middle heights, and thicken outwards.
    ridges = 1 - np.abs(2 * cloud - 1)
    frost = np.clip(0.15 + 1.1 * ridges**3 + 0.4 * cloud, 0, 1)
    return image_weight * image + frost_weight * (
        frost[..., np.newaxis] * _FROST_RGB
    )


def _fog(image, constant, scale, generator):
    weight, fading = constant
    side = max(image.shape[:2])
    is_small = side <= corruption_constants.MAX_SMALL_SIDE
    least = _SMALL_FOG_MAP_SIDE if is_small else _FOG_MAP_SIDE
    cloud = image_filters.fractal(
        max(image_filters.power_of_two(side), least), fading, generator
    )[: image.shape[0], : image.shape[1], np.newaxis]
    highest = image.max()
    return (image + weight * cloud) * highest / (highest + weight)


def _brightness(image, constant, scale, generator):
    return brighten(image, constant)


def brighten(image: np.ndarray, offset: float) -> np.ndarray:
    """Add to the value of hue, saturation and value.

    Args:
        image: float [height, width, 3] in [0, 1].
        offset: In [-1, 1].
    """
    colors = matplotlib.colors.rgb_to_hsv(image)
    colors[..., 2] = np.clip(colors[..., 2] + offset, 0, 1)
    return matplotlib.colors.hsv_to_rgb(colors)


def _saturate(image, constant, scale, generator):
    factor, offset = constant
    colors = matplotlib.colors.rgb_to_hsv(image)
    colors[..., 1] = np.clip(colors[..., 1] * factor + offset, 0, 1)
    return matplotlib.colors.hsv_to_rgb(colors)


def _contrast(image, constant, scale, generator):
    means = image.mean(axis=(0, 1), keepdims=True)
    return (image - means) * constant + means


def _elastic_transform(image, constant, scale, generator):
    length, smoothness, skew = (share * image.shape[0] for share in constant)
    image = _skew(image, skew, generator)
    shifts = [
        ndimage.gaussian_filter(
            generator.uniform(-1, 1, image.shape[:2]),
            smoothness,
            mode="reflect",
            truncate=3,
        )
        * length
        for _ in range(2)
    ]
    places = np.indices(image.shape[:2]) + np.stack(shifts[::-1])
    planes = [
        ndimage.map_coordinates(image[..., i], places, order=1, mode="reflect")
        for i in range(image.shape[2])
    ]
    return np.stack(planes, -1)


def _skew(image, reach, generator):
    """Move three points of the image, and all others with them."""
    height, width = image.shape[:2]
    center = np.array([height // 2, width // 2], float)
    arm = min(height, width) // 3
    corners = np.stack(
        [center + arm, center + np.array([arm, -arm]), center - arm]
    )  # [3, 2]
    moved = corners + generator.uniform(-reach, reach, corners.shape)
    ones = np.ones((3, 1))
    # From the result's points to the image's.
    backwards = np.linalg.solve(
        np.hstack([moved, ones]), np.hstack([corners, ones])
    )
    return image_filters.warp(image, backwards.T, mode="mirror")


def _pixelate(image, constant, scale, generator):
    height, width = image.shape[:2]
    picture = Image.fromarray(np.around(image * 255).astype(np.uint8))
    small = (max(int(width * constant), 1), max(int(height * constant), 1))
    picture = picture.resize(small, Image.Resampling.BOX)
    return (
        np.asarray(picture.resize((width, height), Image.Resampling.BOX))
        / 255.0
    )


def _jpeg_compression(image, constant, scale, generator):
    picture = Image.fromarray(np.around(image * 255).astype(np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=constant)
    return np.asarray(Image.open(buffer)) / 255.0


def _spatter(image, constant, scale, generator):
    mean, deviation, size, threshold, strength, is_mud = constant
    drops = generator.normal(mean, deviation, size=image.shape[:2])
    drops = image_filters.gaussian(drops, size * scale)
    return spatter(
        image,
        drops,
        threshold=threshold,
        strength=strength if not is_mud else strength * scale,
        is_mud=is_mud,
    )


def spatter(
    image: np.ndarray,
    drops: np.ndarray,
    *,
    threshold: float,
    strength: float,
    is_mud: bool,
) -> np.ndarray:
    """Return an image behind drops of water, or mud.

    Args:
        image: float [height, width, 3] in [0, 1].
        drops: float [height, width], heights.
        threshold: Drops are where heights exceed it.
        strength: Of water, its opacity; of mud, the softness of its edge in
            pixels.
        is_mud: Mud is brown and hides what is behind it.
    """
    is_wet = drops > threshold
    if is_mud:
        cover = image_filters.gaussian(is_wet.astype(float), strength)
        cover = np.where(cover < 0.8, 0, cover)[..., np.newaxis]
        return image * (1 - cover) + cover * _MUD_RGB
    # Drops are lit at their rims.
    depth = ndimage.distance_transform_edt(is_wet)
    shine = np.where(is_wet, 1 / np.maximum(depth, 1), 0)[..., np.newaxis]
    return image + strength * shine * _WATER_RGB


_FUNCTIONS: dict[str, _Corruption] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic_transform": _elastic_transform,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
    "speckle_noise": _speckle_noise,
    "gaussian_blur": _gaussian_blur,
    "spatter": _spatter,
    "saturate": _saturate,
}
