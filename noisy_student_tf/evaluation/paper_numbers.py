"""Published accuracies of Noisy Student and its baselines, to stand beside.

All in percent, of ImageNet's validation images and the robustness sets made
for them. Sources: the paper (Xie et al., arXiv 1911.04252v4), and timm's
`results/*.csv` for the released weights, which are those of students of the
L2 teacher.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

PAPER, TIMM = "paper", "timm"


@dataclasses.dataclass(frozen=True)
class Number:
    """One published number.

    Attributes:
        architecture: The variant's name.
        method: What was trained: "Noisy Student" or "supervised".
        set: Name of the set, as `--sets` has it.
        resolution: Side of the test images in pixels; 0 where it is not said.
        metric: Field of a row of `results.json`.
        percent: The number.
        source: Where it is printed.
    """

    architecture: str
    method: str
    set: str
    resolution: int
    metric: str
    percent: float
    source: str


_NOISY, _SUPERVISED = "Noisy Student", "supervised"

# Set, pixels, table, and what is printed there beside the accuracy.
_TABLE_2 = ("imagenet", 800, "Table 2", "top5_accuracy")
_TABLE_3 = ("imagenet_a", 800, "Table 3", "top5_accuracy")
_TABLE_4_LARGE = ("imagenet_c", 475, "Table 4, 299-pixel images", "mce")
_TABLE_4_SMALL = ("imagenet_c", 475, "Table 4, 224-pixel images", "mce")
_TABLE_5_LARGE = ("imagenet_p", 475, "Table 5, 299-pixel images", "mfr")
_TABLE_5_SMALL = ("imagenet_p", 475, "Table 5, 224-pixel images", "mfr")
# Accuracy, and the other number, of EfficientNet-L2.
_PAPER_ROWS = (
    (_NOISY, _TABLE_2, 88.4, 98.7),
    (_SUPERVISED, _TABLE_2, 85.5, 97.5),
    (_NOISY, _TABLE_3, 83.7, 95.2),
    (_SUPERVISED, _TABLE_3, 49.6, 78.6),
    (_NOISY, _TABLE_4_LARGE, 77.8, 28.3),
    (_NOISY, _TABLE_4_SMALL, 76.5, 30.0),
    (_SUPERVISED, _TABLE_4_LARGE, 66.6, 42.5),
    (_SUPERVISED, _TABLE_4_SMALL, 62.6, 47.5),
    (_NOISY, _TABLE_5_LARGE, 86.4, 12.2),
    (_NOISY, _TABLE_5_SMALL, 85.2, 14.2),
    (_SUPERVISED, _TABLE_5_LARGE, 81.6, 23.7),
    (_SUPERVISED, _TABLE_5_SMALL, 80.4, 27.2),
)

# Paper, Figure 4: accuracy under FGSM by epsilon in pixels, at 800 pixels.
FGSM_ACCURACIES = {
    _NOISY: {0: 88.4, 2: 80.0, 4: 77.8, 8: 76.4, 16: 74.7},
    _SUPERVISED: {0: 85.5, 2: 68.3, 4: 64.6, 8: 62.3, 16: 59.7},
}

_TIMM_SETS = (
    "imagenet",
    "imagenet_real",
    "imagenet_v2",
    "imagenet_a",
    "imagenet_r",
    "imagenet_sketch",
)
# Variant, pixels, metric, and its percentages on each of the sets.
_TIMM_ROWS = """
b0 224 accuracy      78.680 85.020 67.740 11.093 46.067 28.908
b0 224 top5_accuracy 94.372 96.492 87.950 39.907 63.283 48.967
b1 240 accuracy      81.388 86.688 70.720 18.907 50.797 34.184
b1 240 top5_accuracy 95.756 97.393 89.970 51.680 67.887 55.513
b2 260 accuracy      82.412 87.570 72.310 24.213 53.497 36.110
b2 260 top5_accuracy 96.238 97.651 91.010 57.547 70.363 57.496
b3 300 accuracy      84.054 88.469 73.810 35.667 57.400 39.500
b3 300 top5_accuracy 96.926 98.027 91.790 67.760 72.427 61.426
b4 380 accuracy      85.156 89.382 75.530 51.040 61.107 43.444
b4 380 top5_accuracy 97.482 98.367 92.850 79.067 76.063 65.464
b5 456 accuracy      86.096 89.662 76.670 59.920 62.883 45.615
b5 456 top5_accuracy 97.744 98.488 93.500 84.280 77.710 67.854
b6 528 accuracy      86.476 89.771 77.160 61.853 65.463 47.708
b6 528 top5_accuracy 97.864 98.527 93.840 85.027 79.460 69.897
b7 600 accuracy      86.850 90.159 77.940 67.187 67.023 47.724
b7 600 top5_accuracy 98.080 98.606 94.330 88.533 81.087 69.603
l2 475 accuracy      88.246 90.527 80.520 83.373 76.350 51.412
l2 475 top5_accuracy 98.554 98.708 95.630 95.480 88.517 73.814
l2 800 accuracy      88.360 90.569 80.130 84.680 74.590 47.401
l2 800 top5_accuracy 98.656 98.777 95.850 96.053 87.483 69.844
"""
# Figure 2 of the paper, read off its plot to 0.05, and printed for some:
# teacher and student of the same size, without iteration.
_FIGURE_2 = {
    "b0": (77.3, 78.1),
    "b1": (79.2, 80.2),
    "b2": (80.0, 81.1),
    "b3": (81.7, 82.5),
    "b4": (83.2, 84.4),
    "b5": (84.0, 85.1),
    "b6": (84.5, 85.9),
    "b7": (85.0, 86.4),
}

_PRINTED = ("b0", "b2", "b5", "b7")


def _all() -> Iterator[tuple[Any, ...]]:
    """Yield the variant and the other fields of every number."""
    for method, (name, side, table, metric), *percents in _PAPER_ROWS:
        source = f"{PAPER}, {table}"
        for field, percent in zip(("accuracy", metric), percents, strict=True):
            yield "l2", method, name, side, field, percent, source
    source = f"{TIMM}, released weights"
    for line in _TIMM_ROWS.split("\n")[1:-1]:
        variant, pixels, field, *words = line.split()
        for name, percent in zip(_TIMM_SETS, map(float, words), strict=True):
            yield variant, _NOISY, name, int(pixels), field, percent, source
    for variant, pair in _FIGURE_2.items():
        source = f"{PAPER}, Figure 2"
        if variant not in _PRINTED:
            source += ", read off its plot"
        for method, percent in zip((_SUPERVISED, _NOISY), pair, strict=True):
            yield variant, method, "imagenet", 0, "accuracy", percent, source


NUMBERS = tuple(
    Number(f"efficientnet-{variant}", *fields) for variant, *fields in _all()
)


def find(architecture: str, set: str) -> list[Number]:
    """Return what was published of an architecture on a set."""
    return [
        number
        for number in NUMBERS
        if (number.architecture, number.set) == (architecture, set)
    ]
