"""Published accuracies of Noisy Student and its baselines, to stand beside.

All in percent, of ImageNet's validation images and the robustness sets made
for them. Sources: the paper (Xie et al., arXiv 1911.04252v4), and timm's
`results/*.csv` for the released weights, which are those of students of the
L2 teacher.
"""

import dataclasses

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


def _paper(
    method: str, set: str, resolution: int, table: str, **percents: float
) -> list[Number]:
    return [
        Number(
            "efficientnet-l2",
            method,
            set,
            resolution,
            metric,
            percent,
            f"{PAPER}, {table}",
        )
        for metric, percent in percents.items()
    ]


_NOISY, _SUPERVISED = "Noisy Student", "supervised"

_PAPER_NUMBERS = [
    *_paper(
        _NOISY, "imagenet", 800, "Table 2", accuracy=88.4, top5_accuracy=98.7
    ),
    *_paper(
        _SUPERVISED,
        "imagenet",
        800,
        "Table 2",
        accuracy=85.5,
        top5_accuracy=97.5,
    ),
    *_paper(
        _NOISY, "imagenet_a", 800, "Table 3", accuracy=83.7, top5_accuracy=95.2
    ),
    *_paper(
        _SUPERVISED,
        "imagenet_a",
        800,
        "Table 3",
        accuracy=49.6,
        top5_accuracy=78.6,
    ),
    *_paper(
        _NOISY,
        "imagenet_c",
        475,
        "Table 4, 299-pixel images",
        accuracy=77.8,
        mce=28.3,
    ),
    *_paper(
        _NOISY,
        "imagenet_c",
        475,
        "Table 4, 224-pixel images",
        accuracy=76.5,
        mce=30.0,
    ),
    *_paper(
        _SUPERVISED,
        "imagenet_c",
        475,
        "Table 4, 299-pixel images",
        accuracy=66.6,
        mce=42.5,
    ),
    *_paper(
        _SUPERVISED,
        "imagenet_c",
        475,
        "Table 4, 224-pixel images",
        accuracy=62.6,
        mce=47.5,
    ),
    *_paper(
        _NOISY,
        "imagenet_p",
        475,
        "Table 5, 299-pixel images",
        accuracy=86.4,
        mfr=12.2,
    ),
    *_paper(
        _NOISY,
        "imagenet_p",
        475,
        "Table 5, 224-pixel images",
        accuracy=85.2,
        mfr=14.2,
    ),
    *_paper(
        _SUPERVISED,
        "imagenet_p",
        475,
        "Table 5, 299-pixel images",
        accuracy=81.6,
        mfr=23.7,
    ),
    *_paper(
        _SUPERVISED,
        "imagenet_p",
        475,
        "Table 5, 224-pixel images",
        accuracy=80.4,
        mfr=27.2,
    ),
]

# Paper, Figure 4: accuracy under FGSM by epsilon in pixels, at 800 pixels.
FGSM_ACCURACIES = {
    _NOISY: {0: 88.4, 2: 80.0, 4: 77.8, 8: 76.4, 16: 74.7},
    _SUPERVISED: {0: 85.5, 2: 68.3, 4: 64.6, 8: 62.3, 16: 59.7},
}
# Paper, Section 4.2: PGD of 10 iterations at epsilon 16.
PGD_ACCURACIES = {_NOISY: 4.4, _SUPERVISED: 1.1}

_TIMM_SETS = (
    "imagenet",
    "imagenet_real",
    "imagenet_v2",
    "imagenet_a",
    "imagenet_r",
    "imagenet_sketch",
)
# (variant, resolution) -> top-1 and top-5 on each of the sets.
_TIMM_ROWS = {
    ("b0", 224): (
        (78.680, 94.372),
        (85.020, 96.492),
        (67.740, 87.950),
        (11.093, 39.907),
        (46.067, 63.283),
        (28.908, 48.967),
    ),
    ("b1", 240): (
        (81.388, 95.756),
        (86.688, 97.393),
        (70.720, 89.970),
        (18.907, 51.680),
        (50.797, 67.887),
        (34.184, 55.513),
    ),
    ("b2", 260): (
        (82.412, 96.238),
        (87.570, 97.651),
        (72.310, 91.010),
        (24.213, 57.547),
        (53.497, 70.363),
        (36.110, 57.496),
    ),
    ("b3", 300): (
        (84.054, 96.926),
        (88.469, 98.027),
        (73.810, 91.790),
        (35.667, 67.760),
        (57.400, 72.427),
        (39.500, 61.426),
    ),
    ("b4", 380): (
        (85.156, 97.482),
        (89.382, 98.367),
        (75.530, 92.850),
        (51.040, 79.067),
        (61.107, 76.063),
        (43.444, 65.464),
    ),
    ("b5", 456): (
        (86.096, 97.744),
        (89.662, 98.488),
        (76.670, 93.500),
        (59.920, 84.280),
        (62.883, 77.710),
        (45.615, 67.854),
    ),
    ("b6", 528): (
        (86.476, 97.864),
        (89.771, 98.527),
        (77.160, 93.840),
        (61.853, 85.027),
        (65.463, 79.460),
        (47.708, 69.897),
    ),
    ("b7", 600): (
        (86.850, 98.080),
        (90.159, 98.606),
        (77.940, 94.330),
        (67.187, 88.533),
        (67.023, 81.087),
        (47.724, 69.603),
    ),
    ("l2", 475): (
        (88.246, 98.554),
        (90.527, 98.708),
        (80.520, 95.630),
        (83.373, 95.480),
        (76.350, 88.517),
        (51.412, 73.814),
    ),
    ("l2", 800): (
        (88.360, 98.656),
        (90.569, 98.777),
        (80.130, 95.850),
        (84.680, 96.053),
        (74.590, 87.483),
        (47.401, 69.844),
    ),
}
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


def _all() -> list[Number]:
    numbers = list(_PAPER_NUMBERS)
    for (variant, resolution), pairs in _TIMM_ROWS.items():
        for name, (top1, top5) in zip(_TIMM_SETS, pairs, strict=True):
            for metric, percent in (
                ("accuracy", top1),
                ("top5_accuracy", top5),
            ):
                numbers.append(
                    Number(
                        f"efficientnet-{variant}",
                        _NOISY,
                        name,
                        resolution,
                        metric,
                        percent,
                        f"{TIMM}, released weights",
                    )
                )
    for variant, percents in _FIGURE_2.items():
        for method, percent in zip(
            (_SUPERVISED, _NOISY), percents, strict=True
        ):
            numbers.append(
                Number(
                    f"efficientnet-{variant}",
                    method,
                    "imagenet",
                    0,
                    "accuracy",
                    percent,
                    f"{PAPER}, Figure 2"
                    + ("" if variant in _PRINTED else ", read off its plot"),
                )
            )
    return numbers


NUMBERS = _all()


def find(architecture: str, set: str) -> list[Number]:
    """Return what was published of an architecture on a set."""
    return [
        number
        for number in NUMBERS
        if (number.architecture, number.set) == (architecture, set)
    ]
