"""Filters that corruptions and perturbations are made of.

Images are float64 [height, width, channels] in [0, 1] unless said otherwise.
"""

import math
from collections.abc import Sequence

import matplotlib.colors
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


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Return uint8 in [0, 255] of any shape, nearest to floats in [0, 1]."""
    return np.around(np.clip(image, 0, 1) * 255).astype(np.uint8)


def shift_hsv(
    image: np.ndarray, channel: int, *, factor: float = 1, offset: float
) -> np.ndarray:
    """Change the hue (0), saturation (1) or value (2) of an image.

    Args:
        image: float [height, width, 3] in [0, 1].
        channel: Which of the three.
        factor: It is multiplied by.
        offset: What is added then, in [-1, 1].
    """
    colors = matplotlib.colors.rgb_to_hsv(image)
    colors[..., channel] = np.clip(colors[..., channel] * factor + offset, 0, 1)
    return matplotlib.colors.hsv_to_rgb(colors)


def draw_flakes(
    generator: np.random.Generator,
    shape: Sequence[int],
    mean: float,
    deviation: float,
    *,
    threshold: float,
    zoom: float,
) -> np.ndarray:
    """Return what is snow where it exceeds a threshold, and 0 elsewhere.

    Args:
        generator: What is drawn from.
        shape: Of the image: its height and width count.
        mean: Of the normal distribution.
        deviation: Of it.
        threshold: In [0, 1].
        zoom: How far the flakes are magnified, at least 1.

    Returns:
        float64 [height, width, 1] in [0, 1].
    """
    flakes = generator.normal(mean, deviation, size=(*shape[:2], 1))
    flakes = clipped_zoom(flakes, zoom)
    return np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)


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
    height, width = image.shape[:2]
    result = np.zeros_like(image, dtype=np.float64)
    for step, weight in zip(steps, weights, strict=True):
        # Whole pixels, as published: shifts are not interpolated.
        rows = round(step * math.sin(radians))
        columns = round(step * math.cos(radians))
        # The edge's pixels fill what comes in.
        from_rows = np.clip(np.arange(height) - rows, 0, height - 1)
        from_columns = np.clip(np.arange(width) - columns, 0, width - 1)
        result += weight * image[from_rows][:, from_columns]
    return result


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
    shape: tuple[int, int],
    fading: float,
    generator: np.random.Generator,
    least: int = 1,
) -> np.ndarray:
    """Return a part of a cloud by the diamond-square algorithm.

    Args:
        shape: Height and width of the part in pixels.
        fading: Each halving of the step divides the amplitude by it.
        generator: What is drawn from.
        least: Side of the whole, at least; it is a power of two.

    Returns:
        float64 [height, width] in [0, 1].
    """
    side = 1 << (max(*shape, least) - 1).bit_length()
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
    return (cloud / cloud.max())[: shape[0], : shape[1]]


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
    rows, columns = np.indices(image.shape[:2])
    points = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    x, y, depth = (matrix @ points).reshape(3, *rows.shape)
    return sample(image, np.stack([y / depth, x / depth]), mode=mode)


def sample(image: np.ndarray, places: np.ndarray, *, mode: str) -> np.ndarray:
    """Interpolate an image linearly between its pixels.

    Args:
        image: float [height, width, channels].
        places: float [2, new_height, new_width], rows and columns.
        mode: What lies beyond the edge, as SciPy names it.

    Returns:
        float [new_height, new_width, channels].
    """
    planes = [
        ndimage.map_coordinates(plane, places, order=1, mode=mode)
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, -1)
