"""Settings of the image noise."""

import dataclasses
from typing import Literal

from noisy_student_tf.configs import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """The image noise of one stream."""

    crop: Literal["inception", "pad", "none"] = options.option(
        "inception",
        "inception: random area and aspect; pad: reflect padding and a random "
        "crop; none: the test crop.",
    )
    pad_pixels: int = options.option(4, "Padding of --crop=pad, in pixels.")
    horizontal_flip: bool = options.option(True, "Mirror half of the images.")
    policy: Literal["none", "randaugment", "keras_cv"] = options.option(
        "randaugment", "What follows crop and flip."
    )
    num_ops: int = options.option(2, "RandAugment's N: operations per image.")
    magnitude: float = options.option(
        27.0, "RandAugment's M; 10 is the nominal top."
    )
    translate_pixels: float = options.option(
        100.0, "Shift at magnitude 10, in pixels of the training image."
    )
    cutout_pixels: float = options.option(
        40.0, "Half the side of cutout's square at magnitude 10, in pixels."
    )
    extra_cutout_pixels: int = options.option(
        0, "Half the side of a square cut from every image. 0: none."
    )
    level_range: Literal["published", "clipped"] = options.option(
        "published",
        "published: magnitudes above 10 leave the operations' nominal ranges, "
        "as they did in the paper's runs; clipped: they count as 10.",
    )
    contrast: Literal["published", "corrected"] = options.option(
        "published",
        "published: blend with a constant that follows from the image's size; "
        "corrected: with the mean gray level.",
    )
    scaled_decoding: bool = options.option(
        False,
        "Decode JPEGs at 1/2, 1/4 or 1/8 of their size where the crop stays "
        "larger than the result: faster for large photographs, not the "
        "published pixels.",
    )

    def __post_init__(self) -> None:
        options.check_choices(self, "augmentation.*")
        for name in (
            "pad_pixels",
            "num_ops",
            "magnitude",
            "translate_pixels",
            "cutout_pixels",
            "extra_cutout_pixels",
        ):
            value = getattr(self, name)
            options.check(
                value >= 0, f"augmentation.*.{name}", value, "0 or more"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """The image noise, separately for labeled and unlabeled images."""

    labeled: PolicyConfig = PolicyConfig()
    unlabeled: PolicyConfig = PolicyConfig()
    mixup_alpha: float = options.option(
        0.0,
        "Mixup: images and labels of two images are blended, with a share "
        "drawn from Beta(alpha, alpha). 0: never.",
    )
    cutmix_alpha: float = options.option(
        0.0,
        "CutMix: a box of another image is pasted, labels are blended by "
        "area; beside mixup, each image gets one of the two. 0: never.",
    )

    def __post_init__(self) -> None:
        for name in ("mixup_alpha", "cutmix_alpha"):
            value = getattr(self, name)
            options.check(
                value >= 0, f"augmentation.{name}", value, "0 or more"
            )
