"""How strong each corruption is at severities 1 to 5.

Two published tables: CIFAR-10-C's, made for 32 x 32 pixels, and ImageNet-C's,
made for 224 x 224 (hendrycks/robustness, `make_cifar_c.py` and
`make_imagenet_c.py`). Images up to 64 pixels take the first: the second would
leave nothing to recognize of them.
"""

import collections
import json
from typing import Any

from noisy_student_tf.records import robustness_sets

_SMALL_SIDE, _LARGE_SIDE = 32, 224
_MAX_SMALL_SIDE = 64

# A row per constant of a corruption, in the order of its function's arguments.
_TABLE = """
# Severities         1    2    3    4    5    | 1    2    3    4    5

# Standard deviation, of pixels in [0, 1].
gaussian_noise       0.04 0.06 0.08 0.09 0.10 | 0.08 0.12 0.18 0.26 0.38
# Photons of a white pixel.
shot_noise           500  250  100  75   50   | 60   25   12   5    3
# Share of the values that become 0 or 1.
impulse_noise        0.01 0.02 0.03 0.05 0.07 | 0.03 0.06 0.09 0.17 0.27
# Radius in pixels, and standard deviation that softens its edge.
defocus_blur         0.3  0.4  0.5  1    1.5  | 3    4    6    8    10
defocus_blur         0.4  0.5  0.6  0.2  0.1  | 0.1  0.5  0.5  0.5  0.5
# Standard deviation and largest shift in pixels, and repetitions.
glass_blur           0.05 0.25 0.4  0.25 0.4  | 0.7  0.9  1    1.1  1.5
glass_blur           1    1    1    1    1    | 1    2    2    3    4
glass_blur           1    1    1    2    2    | 2    1    3    2    2
# Length and standard deviation in pixels.
motion_blur          6    6    6    8    9    | 10   15   15   15   20
motion_blur          1    1.5  2    2    2.5  | 3    5    8    12   15
# Greatest zoom and its step.
zoom_blur            1.06 1.11 1.16 1.21 1.26 | 1.11 1.16 1.21 1.26 1.31
zoom_blur            0.01 0.01 0.01 0.01 0.01 | 0.01 0.01 0.02 0.02 0.03
# Mean and deviation of the flakes, zoom, threshold, length and deviation of
# their motion in pixels, weight of the image.
snow                 0.1  0.1  0.15 0.25 0.3  | 0.1  0.2  0.55 0.55 0.55
snow                 0.2  0.2  0.3  0.3  0.3  | 0.3  0.3  0.3  0.3  0.3
snow                 1    1    1.75 2.25 1.25 | 3    2    4    4.5  2.5
snow                 0.6  0.5  0.55 0.6  0.65 | 0.5  0.5  0.9  0.85 0.85
snow                 8    10   10   12   14   | 10   12   12   12   12
snow                 3    4    4    6    12   | 4    4    8    8    12
snow                 0.95 0.9  0.9  0.85 0.8  | 0.8  0.7  0.7  0.65 0.55
# Weights of image and frost.
frost                1    1    0.9  0.85 0.75 | 1    0.8  0.7  0.65 0.6
frost                0.2  0.3  0.4  0.4  0.45 | 0.4  0.6  0.7  0.7  0.75
# Weight of the fog, and how fast its details fade.
fog                  0.2  0.5  0.75 1    1.5  | 1.5  2.0  2.5  2.5  3.0
fog                  3    3    2.5  2    1.75 | 2    2    1.7  1.5  1.4
# Added to the value of hue, saturation, value.
brightness           0.05 0.1  0.15 0.2  0.3  | 0.1  0.2  0.3  0.4  0.5
# Factor of the difference from the mean.
contrast             0.75 0.5  0.4  0.3  0.15 | 0.4  0.3  0.2  0.1  0.05
# Length, smoothness and skew as shares of the side.
elastic_transform    0    0.05 0.08 0.1  0.1  | 2    2    0.05 0.07 0.12
elastic_transform    0    0.2  0.06 0.04 0.03 | 0.7  0.08 0.01 0.01 0.01
elastic_transform    0.08 0.07 0.06 0.05 0.03 | 0.1  0.2  0.02 0.02 0.02
# Share of the side that is kept.
pixelate             0.95 0.9  0.85 0.75 0.65 | 0.6  0.5  0.4  0.3  0.25
# Quality.
jpeg_compression     80   65   58   50   40   | 25   18   15   10   7
# Standard deviation, as a share of the pixel.
speckle_noise        0.06 0.1  0.12 0.16 0.2  | 0.15 0.2  0.35 0.45 0.6
# Standard deviation in pixels.
gaussian_blur        0.4  0.6  0.7  0.8  1    | 1    2    3    4    6
# Mean and deviation of the drops, their size in pixels, threshold, strength
# (water) or softness in pixels (mud), and whether it is mud.
spatter              0.62 0.65 0.65 0.65 0.65 | 0.65 0.65 0.65 0.65 0.67
spatter              0.1  0.1  0.3  0.1  0.1  | 0.3  0.3  0.3  0.3  0.4
spatter              0.7  0.8  1    0.7  0.5  | 4    3    2    1    1
spatter              0.7  0.7  0.69 0.69 0.68 | 0.69 0.68 0.68 0.65 0.65
spatter              0.5  0.5  0.5  0.6  0.6  | 0.6  0.6  0.5  1.5  1.5
spatter              0    0    0    1    1    | 0    0    0    1    1
# Factor and offset of the saturation.
saturate             0.3  0.1  1.5  2    2.5  | 0.3  0.1  2    5    20
saturate             0    0    0    0.1  0.2  | 0    0    0    0.1  0.2
"""


def _parse(table: str) -> dict[str, list[list[Any]]]:
    """Return corruption -> its rows of 10 numbers."""
    rows = collections.defaultdict(list)
    for line in table.splitlines():
        if line and not line.startswith("#"):
            name, *numbers = line.replace("|", "").split()
            rows[name].append([json.loads(number) for number in numbers])
    return rows


_ROWS = _parse(_TABLE)


def is_small(side: int) -> bool:
    """Tell whether images of a side in pixels take CIFAR-10's constants."""
    return side <= _MAX_SMALL_SIDE


def length_scale(side: int) -> float:
    """Return an image's side over that which its constants were made for."""
    return side / (_SMALL_SIDE if is_small(side) else _LARGE_SIDE)


def constants(corruption: str, severity: int, *, side: int) -> list[Any]:
    """Return what a corruption's function takes for images of a side."""
    first = 0 if is_small(side) else len(robustness_sets.SEVERITIES)
    return [row[first + severity - 1] for row in _ROWS[corruption]]
