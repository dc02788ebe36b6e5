"""Settings of the network."""

import dataclasses
from typing import Literal

from noisy_student_tf.configs import options

IMAGENET_MEAN_RGB = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD_RGB = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The students' architecture, and the teacher's unless told otherwise."""

    name: str = options.option(
        "efficientnet-b0", "efficientnet-b0 ... -b8, -l0, -l1 or -l2."
    )
    width: float = options.option(
        0.0, "Channel multiplier. 0: the variant's own."
    )
    depth: float = options.option(
        0.0, "Repeat multiplier. 0: the variant's own."
    )
    resolution: int = options.option(
        224,
        "Side of the training images in pixels.",
        accepts=("8 or more", lambda value: value >= 8),
    )
    small_image_strides: bool = options.option(
        False, "Stages 2 and 3 at stride 1, as published for SVHN at 32 x 32."
    )
    dropout_rate: float = options.option(
        -1.0,
        "Dropout before the classifier. -1: the variant's own.",
        accepts=(
            "-1 or a rate in [0, 1)",
            lambda value: value == -1 or 0 <= value < 1,
        ),
    )
    stochastic_depth_rate: float = options.share_below_one(
        0.2,
        "Drop rate r of the last block; block i of n gets r * i / n.",
    )
    batch_norm_momentum: float = options.option(
        0.99, "Momentum of the statistics."
    )
    batch_norm_group_size: int = options.option(
        0,
        "Replicas that normalize by a common batch. 0: as published, an "
        "eighth of the replicas and at least 8.",
    )
    recompute: bool = options.option(
        False,
        "Save memory: compute a block's activations a second time.",
        affects="rounding",
    )
    mean_rgb: tuple[float, ...] = options.option(
        IMAGENET_MEAN_RGB,
        "Subtracted from images in [0, 255].",
        accepts=("three numbers", lambda value: len(value) == 3),
    )
    std_rgb: tuple[float, ...] = options.option(
        IMAGENET_STD_RGB,
        "Divides images in [0, 255].",
        accepts=(
            "three positive numbers",
            lambda value: len(value) == 3 and min(value) > 0,
        ),
    )
    head_initializer: Literal["published", "fan_in", "zeros"] = options.option(
        "published",
        "Of the classifier. published: uniform within 1 / sqrt(classes), "
        "over-confident with few; fan_in: within 1 / sqrt(features).",
    )
    initial_weights: str = options.option(
        "",
        "A trained or imported model whose averages the teacher begins with; "
        "its classifier too if the classes are the same. Empty: from scratch.",
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "model.")
