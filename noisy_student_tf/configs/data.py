"""Settings of images: where they come from, and what they are."""

import dataclasses

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
    evaluation_fraction: float = options.option(
        0.2,
        "Share of the labeled source held out for evaluation, where no "
        "evaluation source is given.",
    )
    validation_fraction: float = options.option(
        0.1, "Share of the labeled source held out for choices (validation)."
    )
    unlabeled_by_file: bool = options.option(
        False,
        "Unlabeled shards of whole tar or TFRecord files, which the workers "
        "list: for heaps whose listing fits no memory (300 million images: "
        "117 GB). Files are not mixed, and true labels are not kept.",
    )
    num_shards: int = options.option(8, "TFRecord shards per split.")
    max_corrupt_fraction: float = options.option(
        0.01, "Unreadable images tolerated, as a share of each source."
    )
    max_stored_side: int = options.option(
        0, "Longest side of stored images in pixels. 0: stored as they are."
    )
    allow_overlap: bool = options.option(
        False, "Accept images that are in the training and held-out sets."
    )
    beam_runner: str = options.option(
        "DirectRunner", "Apache Beam runner of all work on shards."
    )
    beam_options: str = options.option(
        "", "Beam's own options, as on a command line: '--option=value ...'."
    )

    def __post_init__(self) -> None:
        for name in ("evaluation_fraction", "validation_fraction"):
            value = getattr(self, name)
            options.check(
                0 <= value < 1, f"data.{name}", value, "0 <= value < 1"
            )
        options.check(
            self.evaluation_fraction + self.validation_fraction < 1,
            "data.evaluation_fraction",
            self.evaluation_fraction,
            "a share that leaves training images beside "
            f"--data.validation_fraction={self.validation_fraction}",
        )
        options.check(
            0 <= self.max_corrupt_fraction <= 1,
            "data.max_corrupt_fraction",
            self.max_corrupt_fraction,
            "a share in [0, 1]",
        )
        for name in ("num_classes", "labeled_per_class", "max_stored_side"):
            value = getattr(self, name)
            options.check(value >= 0, f"data.{name}", value, "0 or more")
        options.check(
            self.num_shards >= 1, "data.num_shards", self.num_shards, ">= 1"
        )
