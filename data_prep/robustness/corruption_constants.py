"""How strong each corruption is at severities 1 to 5.

Two published tables: CIFAR-10-C's, made for 32 x 32 pixels, and ImageNet-C's,
made for 224 x 224 (hendrycks/robustness, `make_cifar_c.py` and
`make_imagenet_c.py`). Images up to 64 pixels take the first: the second would
leave nothing to recognize of them.
"""

import dataclasses
from typing import Any

# A larger image takes the constants of ImageNet-C.
MAX_SMALL_SIDE = 64


@dataclasses.dataclass(frozen=True)
class Table:
    """Constants for images of about one size.

    Attributes:
        side: The side that they were published for, in pixels: lengths scale
            with the image's side over it.
        values: Corruption -> what its function takes at severities 1 to 5.
    """

    side: int
    values: dict[str, tuple[Any, ...]]


SMALL = Table(
    side=32,
    values={
        # Standard deviation, of pixels in [0, 1].
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        # Photons of a white pixel.
        "shot_noise": (500, 250, 100, 75, 50),
        # Share of the values that become 0 or 1.
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
        # Radius in pixels, and standard deviation that softens its edge.
        "defocus_blur": (
            (0.3, 0.4),
            (0.4, 0.5),
            (0.5, 0.6),
            (1, 0.2),
            (1.5, 0.1),
        ),
        # Standard deviation and largest shift in pixels, and repetitions.
        "glass_blur": (
            (0.05, 1, 1),
            (0.25, 1, 1),
            (0.4, 1, 1),
            (0.25, 1, 2),
            (0.4, 1, 2),
        ),
        # Length and standard deviation in pixels.
        "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        # Greatest zoom and its step.
        "zoom_blur": (
            (1.06, 0.01),
            (1.11, 0.01),
            (1.16, 0.01),
            (1.21, 0.01),
            (1.26, 0.01),
        ),
        # Mean and deviation of the flakes, zoom, threshold, length and
        # deviation of their motion in pixels, weight of the image.
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        # Weights of image and frost.
        "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        # Weight of the fog, and how fast its details fade.
        "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        # Added to the value of hue, saturation, value.
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        # Factor of the difference from the mean.
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        # Length, smoothness and skew as shares of the side.
        "elastic_transform": (
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
        # Share of the side that is kept.
        "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
        # Quality.
        "jpeg_compression": (80, 65, 58, 50, 40),
        # Standard deviation, as a share of the pixel.
        "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
        # Standard deviation in pixels.
        "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
        # Mean and deviation of the drops, their size in pixels, threshold,
        # strength (water) or softness in pixels (mud), and whether it is mud.
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
        # Factor and offset of the saturation.
        "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
)

LARGE = Table(
    side=224,
    values={
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": (60, 25, 12, 5, 3),
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "glass_blur": (
            (0.7, 1, 2),
            (0.9, 2, 1),
            (1, 2, 3),
            (1.1, 3, 2),
            (1.5, 4, 2),
        ),
        "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "zoom_blur": (
            (1.11, 0.01),
            (1.16, 0.01),
            (1.21, 0.02),
            (1.26, 0.02),
            (1.31, 0.03),
        ),
        "snow": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "fog": ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "elastic_transform": (
            (2, 0.7, 0.1),
            (2, 0.08, 0.2),
            (0.05, 0.01, 0.02),
            (0.07, 0.01, 0.02),
            (0.12, 0.01, 0.02),
        ),
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg_compression": (25, 18, 15, 10, 7),
        "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),
        "gaussian_blur": (1, 2, 3, 4, 6),
        "spatter": (
            (0.65, 0.3, 4, 0.69, 0.6, False),
            (0.65, 0.3, 3, 0.68, 0.6, False),
            (0.65, 0.3, 2, 0.68, 0.5, False),
            (0.65, 0.3, 1, 0.65, 1.5, True),
            (0.67, 0.4, 1, 0.65, 1.5, True),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    },
)


def table(side: int) -> Table:
    """Return the constants for images of a side in pixels."""
    return SMALL if side <= MAX_SMALL_SIDE else LARGE
