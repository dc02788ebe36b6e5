"""Settings of a run: where its images come from, and how they are stored."""

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
    corrections: str = options.option(
        "",
        "Files of people's decisions (run_scripts.review), separated by "
        "commas: confirmed images become labeled ones, corrected labels "
        "replace others, what is none of the classes is left out. Held-out "
        "images keep their labels.",
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
    split: Literal["stratified", "hashed"] = options.option(
        "hashed",
        "stratified: those shares of every class, and a test image of each "
        "that has three; hashed: an image's id alone decides, whatever other "
        "images there are.",
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
        0.01,
        "Unreadable images tolerated, as a share of each source; one always "
        "is, unless this is 0.",
        affects="nothing",
    )
    max_stored_side: int = options.option(
        0, "Longest side of stored images in pixels. 0: stored as they are."
    )
    allow_overlap: bool = options.option(
        False,
        "Accept images that are in the training and held-out sets.",
        affects="nothing",
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
