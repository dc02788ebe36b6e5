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

# (pixels in [0, 1], scale of lengths, generator, constants) -> pixels.
_Corruption = Callable[..., np.ndarray]


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
    corrupted = _FUNCTIONS[corruption](
        image / 255.0,
        corruption_constants.length_scale(side),
        generator,
        *corruption_constants.constants(corruption, severity, side=side),
    )
    return image_filters.to_bytes(corrupted)


def _gaussian_noise(image, scale, generator, deviation):
    return image + generator.normal(size=image.shape, scale=deviation)


def _shot_noise(image, scale, generator, photons):
    return generator.poisson(image * photons) / photons


def _impulse_noise(image, scale, generator, share):
    is_hit = generator.random(image.shape) <= share
    is_salt = generator.random(image.shape) <= 0.5
    return np.where(is_hit, is_salt, image)


def _speckle_noise(image, scale, generator, deviation):
    return image + image * generator.normal(size=image.shape, scale=deviation)


def _gaussian_blur(image, scale, generator, sigma):
    return image_filters.gaussian(image, sigma * scale)


def _defocus_blur(image, scale, generator, radius, edge_sigma):
    kernel = image_filters.disk(radius * scale, edge_sigma)
    return ndimage.correlate(image, kernel[..., np.newaxis], mode="mirror")


def _glass_blur(image, scale, generator, sigma, shift, repetitions):
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


def _motion_blur(image, scale, generator, length, sigma):
    return image_filters.motion_blur(
        image,
        length=length * scale,
        sigma=sigma * scale,
        angle=generator.uniform(-45, 45),
    )


def _zoom_blur(image, scale, generator, end, step):
    factors = np.arange(1, end, step)
    zoomed = [image_filters.clipped_zoom(image, factor) for factor in factors]
    return (image + sum(zoomed)) / (len(factors) + 1)


def _snow(
    image,
    scale,
    generator,
    mean,
    deviation,
    zoom,
    threshold,
    length,
    sigma,
    weight,
):
    flakes = image_filters.draw_flakes(
        generator, image.shape, mean, deviation, threshold=threshold, zoom=zoom
    )
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


def _frost(image, scale, generator, image_weight, frost_weight):
    cloud = image_filters.fractal(image.shape[:2], 1.6, generator)
    # Crystals grow along the cloud's middle heights, and thicken outwards.
    ridges = 1 - np.abs(2 * cloud - 1)
    frost = np.clip(0.15 + 1.1 * ridges**3 + 0.4 * cloud, 0, 1)
    return image_weight * image + frost_weight * (
        frost[..., np.newaxis] * _FROST_RGB
    )


def _fog(image, scale, generator, weight, fading):
    is_small = corruption_constants.is_small(max(image.shape[:2]))
    least = _SMALL_FOG_MAP_SIDE if is_small else _FOG_MAP_SIDE
    cloud = image_filters.fractal(image.shape[:2], fading, generator, least)
    highest = image.max()
    fog = weight * cloud[..., np.newaxis]
    return (image + fog) * highest / (highest + weight)


def _brightness(image, scale, generator, offset):
    return image_filters.shift_hsv(image, 2, offset=offset)


def _saturate(image, scale, generator, factor, offset):
    return image_filters.shift_hsv(image, 1, factor=factor, offset=offset)


def _contrast(image, scale, generator, factor):
    means = image.mean(axis=(0, 1), keepdims=True)
    return (image - means) * factor + means


def _elastic_transform(image, scale, generator, *shares):
    length, smoothness, skew = (share * image.shape[0] for share in shares)
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
    return image_filters.sample(image, places, mode="reflect")


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


def _pixelate(image, scale, generator, share):
    picture = Image.fromarray(image_filters.to_bytes(image))
    small = [max(int(side * share), 1) for side in picture.size]
    for size in (small, picture.size):
        picture = picture.resize(size, Image.Resampling.BOX)
    return np.asarray(picture) / 255.0


def _jpeg_compression(image, scale, generator, quality):
    buffer = io.BytesIO()
    picture = Image.fromarray(image_filters.to_bytes(image))
    picture.save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)) / 255.0


def _spatter(
    image, scale, generator, mean, deviation, size, threshold, strength, is_mud
):
    heights = generator.normal(mean, deviation, size=image.shape[:2])
    is_wet = image_filters.gaussian(heights, size * scale) > threshold
    if is_mud:
        # Brown, and hides what is behind it.
        cover = image_filters.gaussian(is_wet.astype(float), strength * scale)
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
