"""Settings of images: where they come from, and their noise."""

import dataclasses
from typing import Literal

from noisy_student_tf.configs import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where images come from, and how one source is split."""

    labeled: str = options.option(
        "",
        "Source of labeled images, such as folder:DIR or a glob of our own "
        "shards. An unknown kind is answered with the list of all.",
    )
    unlabeled: str = options.option(
        "",
        "Source of unlabeled images, such as files:DIR. Empty: what the splits "
        "leave of the labeled source.",
    )
    evaluation: str = options.option(
        "",
        "Source of held-out labeled images. Empty: a split of the labeled "
        "source.",
    )
    num_classes: int = options.option(
        0, "Number of classes. 0: as many as the labeled source has."
    )
    labeled_per_class: int = options.option(
        0, "Labeled images per class to train on. 0: all."
    )
    evaluation_fraction: float = options.share_below_one(
        0.2,
        "Share of the labeled source held out for evaluation, where no "
        "evaluation source is given.",
    )
    validation_fraction: float = options.share_below_one(
        0.1, "Share of the labeled source held out for choices (validation)."
    )
    split_seed: int = options.option(
        0,
        "Another number splits and draws the labeled images anew.",
        accepts=("in [0, 10^7)", lambda value: 0 <= value < 10**7),
    )
    unlabeled_by_file: bool = options.option(
        False,
        "Unlabeled shards of whole tar or TFRecord files, which the workers "
        "list: for heaps whose listing fits no memory (300 million images: "
        "117 GB). Files are not mixed, and true labels are not kept.",
    )
    num_shards: int = options.positive(8, "TFRecord shards per split.")
    max_corrupt_fraction: float = options.share(
        0.01, "Unreadable images tolerated, as a share of each source."
    )
    max_stored_side: int = options.option(
        0, "Longest side of stored images in pixels. 0: stored as they are."
    )
    allow_overlap: bool = options.option(
        False, "Accept images that are in the training and held-out sets."
    )
    beam_runner: str = options.option(
        "local",
        "Where work on shards is done: local, on all cores of this machine, or "
        "an Apache Beam runner.",
        affects="nothing",
    )
    beam_options: str = options.option(
        "",
        "Beam's own options, as on a command line: '--option=value ...'.",
        affects="nothing",
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "data.")
        options.check(
            self.evaluation_fraction + self.validation_fraction < 1,
            "data.evaluation_fraction",
            self.evaluation_fraction,
            "a share that leaves training images beside "
            f"--data.validation_fraction={self.validation_fraction}",
        )


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
        options.check_fields(self, "augmentation.*.")


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
        options.check_fields(self, "augmentation.")
