"""Filters that corruptions and perturbations are made of.

Images are float64 [height, width, channels] in [0, 1] unless said otherwise.
"""

import math

import numpy as np
from scipy import ndimage

_GAUSSIAN_TRUNCATE = 4.0
# Half the side of a defocus kernel; larger radii have their own.
_MIN_KERNEL_RADIUS = 8


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur the first two axes; beyond the edge its pixels go on.

    Args:
        image: float [height, width] or [height, width, channels].
        sigma: Standard deviation in pixels.
    """
    sigmas = (sigma, sigma) + (0,) * (image.ndim - 2)
    return ndimage.gaussian_filter(
        image, sigmas, mode="nearest", truncate=_GAUSSIAN_TRUNCATE
    )


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlate each channel with a kernel; the edge is mirrored."""
    return ndimage.correlate(image, kernel[..., np.newaxis], mode="mirror")


def disk(radius: float, edge_sigma: float) -> np.ndarray:
    """Return a defocus kernel that sums to 1: a disk with a soft edge.

    Args:
        radius: In pixels.
        edge_sigma: Standard deviation of the softening in pixels.
    """
    reach = max(_MIN_KERNEL_RADIUS, math.ceil(radius))
    # The published kernel is softened over 3 or 5 pixels.
    softening = 1 if radius <= _MIN_KERNEL_RADIUS else 2
    axis = np.arange(-reach, reach + 1)
    is_inside = axis**2 + axis[:, np.newaxis] ** 2 <= radius**2
    kernel = is_inside / is_inside.sum()
    offsets = np.arange(-softening, softening + 1)
    weights = np.exp(-(offsets**2) / (2 * edge_sigma**2))
    weights /= weights.sum()
    for direction in (0, 1):
        kernel = ndimage.correlate1d(kernel, weights, direction, mode="mirror")
    return kernel


def motion_blur(
    image: np.ndarray, *, length: float, sigma: float, angle: float
) -> np.ndarray:
    """Blur towards one side, as a moving camera does.

    Args:
        image: float [height, width, channels].
        length: In pixels; at least one pixel is reached.
        sigma: Standard deviation of the weights along the way, in pixels.
        angle: Of the motion in degrees, 0 to the right.
    """
    steps = np.arange(max(round(length), 1) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    radians = math.radians(angle)
    result = np.zeros_like(image, dtype=np.float64)
    for step, weight in zip(steps, weights, strict=True):
        # Whole pixels, as published: shifts are not interpolated.
        rows = round(step * math.sin(radians))
        columns = round(step * math.cos(radians))
        result += weight * _shift(image, rows, columns)
    return result


def _shift(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Shift by whole pixels; the edge's pixels fill what comes in."""
    height, width = image.shape[:2]
    row_index = np.clip(np.arange(height) - rows, 0, height - 1)
    column_index = np.clip(np.arange(width) - columns, 0, width - 1)
    return image[row_index][:, column_index]


def clipped_zoom(image: np.ndarray, factor: float) -> np.ndarray:
    """Magnify the center so that it fills the image.

    Args:
        image: float [height, width, channels].
        factor: At least 1.
    """
    height, width = image.shape[:2]
    part = [math.ceil(side / factor) for side in (height, width)]
    top, left = (height - part[0]) // 2, (width - part[1]) // 2
    zoomed = ndimage.zoom(
        image[top : top + part[0], left : left + part[1]],
        (factor, factor, 1),
        order=1,
    )
    trim_top = (zoomed.shape[0] - height) // 2
    trim_left = (zoomed.shape[1] - width) // 2
    return zoomed[trim_top : trim_top + height, trim_left : trim_left + width]


def fractal(
    side: int, fading: float, generator: np.random.Generator
) -> np.ndarray:
    """Return a cloud by the diamond-square algorithm.

    Args:
        side: In pixels, a power of two.
        fading: Each halving of the step divides the amplitude by it.
        generator: What is drawn from.

    Returns:
        float64 [side, side], from 0 to 1; opposite edges meet.
    """
    cloud = np.zeros((side, side))
    amplitude, step = 100.0, side

    def draw(corner_sums: np.ndarray) -> np.ndarray:
        noise = generator.uniform(-amplitude, amplitude, corner_sums.shape)
        return corner_sums / 4 + amplitude * noise

    while step >= 2:
        half = step // 2
        corners = cloud[::step, ::step]
        sums = corners + np.roll(corners, -1, 0)
        sums = sums + np.roll(sums, -1, 1)
        cloud[half::step, half::step] = draw(sums)
        centers = cloud[half::step, half::step]
        vertical = centers + np.roll(centers, 1, 0)
        horizontal = centers + np.roll(centers, 1, 1)
        cloud[::step, half::step] = draw(
            vertical + corners + np.roll(corners, -1, 1)
        )
        cloud[half::step, ::step] = draw(
            horizontal + corners + np.roll(corners, -1, 0)
        )
        step = half
        amplitude /= fading
    cloud -= cloud.min()
    return cloud / cloud.max()


def power_of_two(least: int) -> int:
    """Return the smallest power of two that is not smaller."""
    return 1 << (least - 1).bit_length()


def warp(
    image: np.ndarray, matrix: np.ndarray, *, mode: str = "constant"
) -> np.ndarray:
    """Return an image seen through a projection.

    Args:
        image: float [height, width, channels].
        matrix: float [3, 3], from (x, y, 1) of the result to that of the
            image, up to a factor.
        mode: What lies beyond the edge: black ("constant") or its mirror
            image ("mirror").
    """
    height, width, channels = image.shape
    rows, columns = np.mgrid[:height, :width]
    points = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    x, y, depth = matrix @ points
    places = np.stack([y / depth, x / depth])
    planes = [
        ndimage.map_coordinates(image[..., i], places, order=1, mode=mode)
        for i in range(channels)
    ]
    return np.stack(planes, -1).reshape(height, width, channels)
